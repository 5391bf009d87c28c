"""Formatting, lint and types, so that one command checks everything."""

import ast
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
    if command == ["mypy"] and sys.version_info < (3, 11):
        pytest.skip("NumPy for Python 3.10 declares fewer types")
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ASKED)
def test_the_lock_pins_what_diffnas_and_its_extras_ask_for(package: str) -> None:
    pins = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(rf"^{package}==[\w.]+(?= ;|$)", pins, re.MULTILINE), f"{package} has no pin in requirements.lock"


LONGEST_FILE, LONGEST_FUNCTION = 400, 40


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    documented = ast.get_docstring(function) is not None
    docstring = function.body[0] if documented else None
    told = docstring.end_lineno - docstring.lineno + 1 if docstring is not None and docstring.end_lineno else 0
    return (function.end_lineno or 0) - function.lineno + 1 - told


def test_files_and_functions_fit_on_a_screen() -> None:
    package = ROOT / "src/diffnas"
    files, functions = set(), set()
    for path in package.rglob("*.py"):
        name, text = path.relative_to(package).as_posix(), path.read_text(encoding="utf-8")
        files |= {name} if len(text.splitlines()) > LONGEST_FILE else set()
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        functions |= {f"{name}:{node.name}" for node in nodes if lines_of(node) > LONGEST_FUNCTION}
    assert not files, "make them shorter, or folders"
    assert not functions, "make them shorter"
