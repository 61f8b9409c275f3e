"""A short soak; the long one is `make faults`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.faults
def test_killed_stages_end_as_if_left_in_peace() -> None:
    command = [sys.executable, "-m", "tests.faults.soak", "--kills", "6", "--seed", "2"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("weights, masks and metrics are the same\n")
    kills = re.search(r"^(\d+) kills", ended.stdout, re.MULTILINE)
    assert kills is not None
    assert int(kills[1]) == 6
