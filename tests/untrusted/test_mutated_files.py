"""Thousands of damaged files of every kind: each is read, or gives one line that says why not, and soon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kinds import KINDS, write_all

pytest.importorskip("nats_bench")

SLOW = 400


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """A folder with a valid file of every kind."""
    place = tmp_path_factory.mktemp("valid")
    write_all(place)
    return place


def fed(valid: Path, names: list[str], seed: int, count: int) -> int:
    """How many damaged files were read, in a process of its own that may take little memory; nothing went wrong."""
    command = [sys.executable, str(Path(__file__).with_name("kinds.py")), str(valid), str(seed), str(count), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: wrong for name, (_, wrong) in found.items() if wrong} == {}
    return sum(many for many, _ in found.values())


def test_a_sample_of_damaged_files_is_read_or_refused_in_one_line(valid):
    assert fed(valid, list(KINDS), seed=0, count=10) > 250


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_damaged_files_are_read_or_refused_in_one_line(part, valid):
    names = list(KINDS)[part::4]
    assert fed(valid, names, seed=1, count=SLOW) * len(KINDS) / len(names) > 10_000
