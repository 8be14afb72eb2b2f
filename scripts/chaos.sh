#!/usr/bin/env bash
# Disturbs dvt decompose, train, distill and evaluate: kill -9, signals, a full or read-only disk, files that vanish, a
# clock that goes back, file systems that lack something. Then the same command runs again, and its result has to equal
# that of an undisturbed run bit by bit. Exit code 1: something was lost. Root may mount the disks; others leave them out.
#
#   scripts/chaos.sh                     28 rounds
#   scripts/chaos.sh 100 --seed 7        other moments
#   scripts/chaos.sh 1 --first 12        round 12 again
#   PYTHON=python3.12 scripts/chaos.sh   another Python; default: .venv/bin/python, which scripts/test.sh makes
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export OMP_NUM_THREADS=1 PYTHONPATH=$checkout${PYTHONPATH:+:$PYTHONPATH}
exec nice -n 10 "${PYTHON:-$checkout/.venv/bin/python}" "$checkout/tests/chaos/chaos_run.py" "$@"
