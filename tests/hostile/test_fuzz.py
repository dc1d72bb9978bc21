"""A short run of the fuzzer, the same each time; `make fuzz` runs it for longer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.hostile.documented import documented_codes
from tests.hostile.fuzz import is_wrong
from tests.hostile.reader import Ended


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process that has used nothing yet: GDAL and Arrow hang in what is forked from one that has."""
    command = [sys.executable, "-m", "tests.hostile.fuzz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_mutants_are_read_or_refused() -> None:
    done = fuzz("--seed", "7", "--mutants", "60", "--seconds", "600")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("60 mutants of seed 7:")


@pytest.mark.slow
def test_many_mutants_are_read_or_refused() -> None:
    done = fuzz("--seed", "8", "--mutants", "2000", "--seconds", "1800")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "ended",
    [
        Ended("crashed", -11),
        Ended("hung", 60),
        Ended("defect", "Traceback"),
        Ended("refused", "internal_error_of_no_name"),
        Ended("rows", 5_000_000),
    ],
    ids=lambda ended: ended.how,
)
def test_what_must_not_be_is_wrong(ended: Ended) -> None:
    assert is_wrong(ended, documented_codes())
    assert not is_wrong(Ended("rows", 3), documented_codes())
    assert not is_wrong(Ended("refused", "file_damaged"), documented_codes())
