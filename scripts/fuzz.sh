#!/usr/bin/env bash
# Gives dvt mutated images, weights, stores, lists, results and options for some time (60 s). Nothing but success or a
# DvtError that names the file may come out, within 10 s and 2 GB. Exit code 1: something else did; it is written, with
# the shortest such input, into fuzz_findings/. A seed and a number make every input again.
#
#   scripts/fuzz.sh                       60 s
#   scripts/fuzz.sh 3600 --seed 7         an hour of other inputs
#   scripts/fuzz.sh 60 --seed 7 --first 1234 --inputs 1      one of them again
#   PYTHON=python3.12 scripts/fuzz.sh     another Python; default: .venv/bin/python, which scripts/test.sh makes
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export OMP_NUM_THREADS=1 PYTHONPATH=$checkout${PYTHONPATH:+:$PYTHONPATH}
exec nice -n 10 "${PYTHON:-$checkout/.venv/bin/python}" "$checkout/tests/fuzz/fuzz_run.py" "$@"
