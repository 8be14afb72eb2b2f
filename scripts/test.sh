#!/usr/bin/env bash
# Lint, types, import layers and tests. Needs Python >= 3.10 and a package index; makes .venv in the checkout and keeps it.
#
#   scripts/test.sh           the fast tests: none of the markers in pyproject.toml
#   scripts/test.sh --ci      also the marked tests that are not slow, the wheel with the packages of .venv, the documentation
#   scripts/test.sh --all     all tests, the wheel in an empty environment, the documentation; tests of a GPU run where there is one
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

# What does not need .venv starts at once, beside its installation; the documentation, which needs it, beside the tests.
# Each is in its own process group, which ends with this script.
started=()
begin() {
    set -m
    PYTHON=$python "$@" >"$logs/$(basename "$1")" 2>&1 &
    started+=("$!")
    set +m
}
finish() {  # the number of what was begun, and its name
    wait "${started[$1]}" || { cat "$logs/$2"; exit 1; }
}
if [[ $tests != "$fast" ]]; then
    logs=$(mktemp -d)
    trap 'for group in "${started[@]}"; do kill -- "-$group" 2>/dev/null || true; done; rm -rf "$logs"' EXIT
    begin scripts/browser_tools.sh
    begin scripts/docs.sh environment
    if [[ ! $tests ]]; then begin scripts/test_wheel.sh; fi
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

if [[ $tests != "$fast" ]]; then
    step "a browser and packages of npm"
    finish 0 browser_tools.sh
    cat "$logs/browser_tools.sh"
    finish 1 docs.sh
    if [[ $tests ]]; then begin scripts/test_wheel.sh lent; fi
    begin scripts/docs.sh
fi

step "tests: pytest"
"$bin/python" -m pytest -m "$tests" -n 2 --dist loadscope --no-loadscope-reorder

if [[ $tests != "$fast" ]]; then
    step "the wheel in an environment of its own"
    finish 2 test_wheel.sh

    step "documentation: mkdocs, warnings are errors"
    finish 3 docs.sh
fi

step "all good"
