#!/usr/bin/env bash
# Builds the documentation site into site/; warnings are errors. Needs Python >= 3.10 and a package index; makes
# .venv-docs in the checkout and keeps it for the next time. Neither torch nor timm is installed: options and docstrings
# are read without them. The page that runs a ViT in the browser needs both, from the .venv of scripts/test.sh, and
# packages of npm.
#
#   scripts/docs.sh           build
#   scripts/docs.sh text      build without the page that runs a ViT in the browser
#   scripts/docs.sh serve     show it while writing, also without that page
#   scripts/docs.sh environment            make .venv-docs alone
#   PYTHON=python3.12 scripts/docs.sh      another Python, when .venv-docs is made
set -euo pipefail

case "${1:-}" in
    "" | text) mkdocs=(build --strict) ;;
    serve) mkdocs=(serve --strict) ;;
    environment) mkdocs=() ;;
    *) echo "usage: scripts/docs.sh [text | serve | environment]" >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$PWD
bin=$checkout/.venv-docs/bin
python=${PYTHON:-python3}

unset PYTHONPATH PYTHONHOME
export NO_MKDOCS_2_WARNING=1  # an advertisement of another tool

step() { printf '\n== %s  (%d s)\n' "$1" "$SECONDS"; }

# .venv-docs counts as complete when it was made for this folder from these requirements.
stamp="$checkout $(cksum <pyproject.toml)"
if [[ ! -x $bin/python || "$(cat .venv-docs/complete 2>/dev/null)" != "$stamp" ]]; then
    step "virtual environment: .venv-docs"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: set PYTHON=")'
    "$python" -m venv --clear .venv-docs
    # The extra alone: what dvt itself needs stays away, and mkdocs finds dvt in the checkout.
    "$bin/python" -m pip install --quiet --no-deps --editable .
    "$bin/python" -c '
from importlib.metadata import requires
for line in requires("denoising-vit"):
    requirement, _, marker = line.partition(";")
    if "docs" in marker:
        print(requirement.strip())
' >.venv-docs/requirements.txt
    "$bin/python" -m pip uninstall --quiet --yes denoising-vit
    "$bin/python" -m pip install --quiet --requirement .venv-docs/requirements.txt
    echo "$stamp" >.venv-docs/complete
fi

if [[ ${#mkdocs[@]} == 0 ]]; then exit 0; fi

rm -rf build/web
if [[ $# == 0 ]]; then
    step "the page that runs a ViT in the browser"
    if [[ ! -x .venv/bin/python ]]; then
        echo "It needs .venv, which scripts/test.sh makes. Run that first, or leave the page out: scripts/docs.sh text" >&2
        exit 1
    fi
    PYTHON=$python scripts/npm_packages.sh
    OMP_NUM_THREADS=1 .venv/bin/python web/build.py build/web
else
    echo "The page that runs a ViT in the browser is left out."
fi

step "documentation: mkdocs"
"$bin/python" -m mkdocs "${mkdocs[@]}"
step "site/index.html"
