"""Formatting, lint and types, so that one command checks everything."""

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ASKED = sorted({re.split(r"[^\w-]", requirement)[0] for requirement in requires("diffnas") or ()})

CHECKS = {
    "formatted": ["ruff", "format", "--check", "."],
    "free of lint": ["ruff", "check", "."],
    "strictly typed": ["mypy"],
}


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS)
def test_the_code_is(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ASKED)
def test_the_lock_pins_what_diffnas_and_its_extras_ask_for(package: str) -> None:
    pins = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(rf"^{package}==[\w.]+(?= ;|$)", pins, re.MULTILINE), f"{package} has no pin in requirements.lock"
