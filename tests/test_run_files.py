"""The names of the files of a run folder are written once."""

import ast
from pathlib import Path

import diffnas
from diffnas import run_files
from diffnas.run_folder import looks_like_run

# Only the module that opens the files of a run folder knows where they are, and everything else asks it.
OPENED = {"RECORD", "TRACE", "GENOTYPE", "RESULT", "LANDING", "CHECKPOINTS", "LAST", "PREVIOUS"}
READER = {"run_folder.py": OPENED, "checkpoint.py": {"LAST", "PREVIOUS"}}  # the second writes them
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


def test_one_module_knows_where_the_files_of_a_run_folder_are_and_opens_them():
    found = {}
    for path in ROOT.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        asked = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "diffnas.run_files"]
        names = {alias.name for node in asked for alias in node.names} & OPENED
        assert not any(isinstance(node, ast.Import) and "run_files" in ast.unparse(node) for node in nodes), path
        if names:
            found[path.name] = names
    assert found == READER


def test_a_folder_with_a_damaged_record_of_a_run_looks_like_none(tmp_path: Path):
    for content in ("", "[]", '{"schema": "other"}', "[" * 100_000):
        (tmp_path / "run.json").write_text(content)
        assert not looks_like_run(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": "diffnas/run", "version": 99}')
    assert looks_like_run(tmp_path)
