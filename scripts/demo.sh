#!/usr/bin/env bash
# Runs stages 1 and 2 on six images. Needs a package index, no other network: makes .venv, installs, runs `dvt demo`.
# Arguments go to `dvt demo`:
#
#   scripts/demo.sh                  demo/index.html, a few minutes after the installation
#   scripts/demo.sh num_views=128    more views in stage 1
#   PYTHON=python3.12 scripts/demo.sh      another Python, when .venv is made
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

if [[ ! -x .venv/bin/dvt ]] || ! .venv/bin/python -c 'import dvt, skimage' 2>/dev/null; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: set PYTHON=")'
    echo "making .venv and installing: a few minutes, mostly PyTorch"
    [[ -x .venv/bin/python ]] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --editable '.[demo]'
fi
exec .venv/bin/dvt demo "$@"
