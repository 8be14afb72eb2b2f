#!/usr/bin/env bash
# Lint, types, import layers and tests. Needs Python >= 3.10 and a package index; makes .venv in the checkout and keeps it.
#
#   scripts/test.sh           the fast tests: none of the markers in pyproject.toml
#   scripts/test.sh --ci      also the marked tests that are not slow, the wheel in an empty environment, the documentation
#   scripts/test.sh --all     all tests, the wheel, the documentation; tests of a GPU run where there is one
#   PYTHON=python3.12 scripts/test.sh      another Python, when .venv is made
set -euo pipefail

fast="not (slow or gpu or ddp or ray or slurm or wandb or network or browser or plugins or docs or process or export or sources)"
case "${1:-}" in
    "") tests=$fast ;;
    --ci) tests="not (slow or gpu)" ;;
    --all) tests="" ;;
    *) echo "usage: scripts/test.sh [--ci | --all]" >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$PWD
bin=$checkout/.venv/bin
python=${PYTHON:-python3}

# One thread per test process: two processes on two cores do not disturb each other.
export OMP_NUM_THREADS=1
# The tests are about this checkout, not about the environment.
unset PYTHONPATH PYTHONHOME HYDRA_FULL_ERROR
# Compiled modules are kept: without them every test process compiles dvt and the tests again, 15 seconds.
unset PYTHONDONTWRITEBYTECODE

step() { printf '\n== %s  (%d s)\n' "$1" "$SECONDS"; }

# The wheel and the documentation have their own environments. They start at once, beside the installation of .venv, each
# in its own process group, which ends with this script.
if [[ $tests != "$fast" ]]; then
    logs=$(mktemp -d)
    set -m
    PYTHON=$python scripts/test_wheel.sh >"$logs/wheel" 2>&1 &
    wheel=$!
    PYTHON=$python scripts/docs.sh >"$logs/docs" 2>&1 &
    docs=$!
    set +m
    trap 'kill -- "-$wheel" "-$docs" 2>/dev/null || true; rm -rf "$logs"' EXIT
fi

# .venv is complete when it was made for this folder and these requirements.
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
"$bin/python" -m pytest -m "$tests" -n 2 --dist loadscope --no-loadscope-reorder

if [[ $tests != "$fast" ]]; then
    step "the wheel in an empty environment"
    wait "$wheel" || { cat "$logs/wheel"; exit 1; }

    step "documentation: mkdocs, warnings are errors"
    wait "$docs" || { cat "$logs/docs"; exit 1; }
fi

step "all good"
