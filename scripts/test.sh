#!/usr/bin/env bash
# Everything that must hold before a change is good: lint, types, import layers, tests, the wheel in an empty
# environment, the documentation. Needs Python >= 3.10 and a package index; makes .venv in the checkout and keeps it for the next time.
#
#   scripts/test.sh           everything
#   scripts/test.sh --fast    without the wheel and the documentation
#   PYTHON=python3.12 scripts/test.sh      another Python, when .venv is made
set -euo pipefail

fast=false
case "${1:-}" in
    "") ;;
    --fast) fast=true ;;
    *) echo "usage: scripts/test.sh [--fast]" >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$PWD
bin=$checkout/.venv/bin
python=${PYTHON:-python3}

# One thread per test process: two of them share two cores without getting in each other's way.
export OMP_NUM_THREADS=1
# The tests are about this checkout, not about what the environment points to.
unset PYTHONPATH PYTHONHOME HYDRA_FULL_ERROR

step() { printf '\n== %s  (%d s)\n' "$1" "$SECONDS"; }

# The wheel and the documentation have environments of their own: they begin at once, beside the installation of .venv,
# each in a process group of its own, which ends with this script.
if ! $fast; then
    logs=$(mktemp -d)
    set -m
    PYTHON=$python scripts/test_wheel.sh >"$logs/wheel" 2>&1 &
    wheel=$!
    PYTHON=$python scripts/docs.sh >"$logs/docs" 2>&1 &
    docs=$!
    set +m
    trap 'kill -- "-$wheel" "-$docs" 2>/dev/null || true; rm -rf "$logs"' EXIT
fi

# .venv counts as complete when it was made for this folder from these requirements.
stamp="$checkout $(cksum <pyproject.toml)"
if [[ ! -x $bin/python || "$(cat .venv/complete 2>/dev/null)" != "$stamp" ]]; then
    step "virtual environment: .venv"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: set PYTHON=")'
    "$python" -m venv --clear .venv
    "$bin/python" -m pip install --quiet --editable '.[dev]'
    "$bin/python" -m pip check
    echo "$stamp" >.venv/complete
fi

step "lint: ruff"
"$bin/ruff" check .
"$bin/ruff" format --check .

step "types: mypy"
"$bin/mypy"

step "import layers: import-linter"
"$bin/lint-imports"

step "tests: pytest"
"$bin/python" -m pytest -m "not gpu and not slow" -n 2 --dist loadscope

if ! $fast; then
    step "the wheel in an empty environment"
    wait "$wheel" || { cat "$logs/wheel"; exit 1; }

    step "documentation: mkdocs, warnings are errors"
    wait "$docs" || { cat "$logs/docs"; exit 1; }
fi

step "all good"
