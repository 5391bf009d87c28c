"""The names of the files of a run folder are written once."""

import ast
from pathlib import Path

import diffnas
from diffnas import run_files

ROOT = Path(diffnas.__file__).parent
# Of these words only the names of files are unmistakable: "evaluation" is a word too.
NAMES = {name for name in vars(run_files).values() if isinstance(name, str)}
NAMES = {name for name in NAMES if name.endswith((".json", ".jsonl", ".safetensors", ".html", ".txt"))}


def test_the_name_of_a_file_of_a_run_folder_is_written_in_one_place():
    for path in ROOT.rglob("*.py"):
        words = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert path.name == "run_files.py" or not words & NAMES, f"{path} writes {words & NAMES}"
