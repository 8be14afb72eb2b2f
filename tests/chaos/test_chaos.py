"""Disturbed commands end like undisturbed ones, and the check of that can fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLANTED = """
import sys
import chaos_run
def other_seed(run):
    run.arguments.append("seed=1")
chaos_run.KINDS["other_seed"] = other_seed
sys.exit(chaos_run.main())
"""

pytestmark = [pytest.mark.slow, pytest.mark.process]


def test_some_rounds_lose_nothing():
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [ROOT / "scripts" / "chaos.sh", "14", "--verbs", "decompose"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0 and "14 rounds, 0 lost" in ran.stdout, ran


def test_a_result_that_differs_is_lost():
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    command = [sys.executable, "-c", PLANTED, "1", "--verbs", "decompose", "--kinds", "other_seed"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 1 and "LOST   the result differs" in ran.stdout, ran
