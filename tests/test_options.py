"""Every option is declared once, and is the same in Python, on the command line and in the documentation."""

import inspect
import json
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

import diffnas
from diffnas.cli import app, main
from diffnas.engine.settings import HOW, EvaluateSettings, Machine, SearchSettings, Source, Wanted
from diffnas.method import COMPONENTS
from diffnas.roles import ROLES
from diffnas.values import helps, kinds

DOCS = Path(__file__).parent.parent / "docs"
VERBS = {"search": (Source, Wanted, SearchSettings, Machine), "evaluate": (Source, EvaluateSettings, Machine)}
TINY = ["--space", "nas-bench-201", "--train", "100", "--epochs", "1", "--channels", "4", "--depth", "3"]


def options(command: str) -> set[str]:
    """The names of all options of a command, those that its help does not show at first, too."""
    commands = typer.main.get_command(app).commands
    words = [word for each in commands[command].params for word in (*each.opts, *each.secondary_opts)]
    return {word for word in words if word.startswith("-")}


@pytest.mark.parametrize("record", [Source, Wanted, Machine, SearchSettings, EvaluateSettings])
def test_every_field_of_a_record_of_options_says_what_it_is_for_in_a_short_sentence(record):
    told = helps(record)
    assert list(told) == list(kinds(record))
    for name, each in told.items():
        assert each.line.endswith("."), name
        assert 10 < len(each.line) < 60, name


def test_the_settings_of_both_phases_are_declared_once():
    (shared,) = set(SearchSettings.__mro__) & set(EvaluateSettings.__mro__) - {object}
    assert set(kinds(SearchSettings)) & set(kinds(EvaluateSettings)) == set(kinds(shared))
    assert "label_smoothing: " in EvaluateSettings.__doc__
    assert "momentum: Momentum of the weights' SGD." in EvaluateSettings.__doc__


def test_how_a_run_is_computed_is_said_where_its_settings_are_declared():
    assert set(HOW) == {"backend", "recompute", "tf32", "cuda_graph", "free"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_setting_is_an_option_of_the_command_and_an_argument_of_the_function(verb):
    names = {name for record in VERBS[verb] for name in kinds(record)} - ({"train"} if verb == "evaluate" else set())
    function = getattr(diffnas, verb)
    assert names <= set(inspect.signature(function).parameters)
    assert {f"--{name.replace('_', '-')}" for name in names} <= options(verb)
    assert [name for name in names if f"    {name}: " not in function.__doc__] == []


def test_the_signature_of_a_function_shows_the_defaults_of_the_records():
    shown = inspect.signature(diffnas.search).parameters
    assert (shown["epochs"].default, shown["epochs"].annotation) == (50, int)
    assert (shown["device"].default, shown["device"].annotation) == (None, str | None)
    assert shown["epochs"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "device" in inspect.signature(diffnas.run).parameters


@pytest.mark.parametrize("command", ["search", "run"])
def test_every_role_of_a_method_is_an_option(command):
    assert set(ROLES) == set(COMPONENTS)
    assert {f"--{role}" for role in ROLES} <= options(command)


@pytest.mark.parametrize("command", ["run", "search", "evaluate"])
def test_help_fits_on_a_screen_and_help_all_shows_everything(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) <= 45
    assert main([command, "--help-all"]) == 0
    whole = capsys.readouterr().out
    assert [option for option in options(command) if option not in whole] == []
    assert "--precision" not in short
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out == short


def test_rare_settings_reach_a_search_by_options_of_their_own(tmp_path):
    words = "--momentum 0.5 --nesterov --no-tf32 --split ordered --free later --alpha-clip 2 --lr-fall line --cutout 2"
    assert main(["search", *TINY, *words.split(), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    settings = json.loads((tmp_path / "run/run.json").read_text())["settings"]
    expected = {"momentum": 0.5, "nesterov": True, "tf32": False, "split": "ordered", "free": "later"}
    expected |= {"alpha_clip": 2.0, "lr_fall": "line", "cutout": 2}
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--split", "sorted"], "split must be 'shuffled' or 'ordered', got 'sorted'."),
        (["--momentum", "1"], "momentum must be a number from 0 to below 1, got 1.0."),
        (["--threads", "0"], "threads must be a whole number from 1 to 1,024, got 0."),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_the_same_words_by_its_option_by_set_and_in_python(
    words, complaint, capsys
):
    assert main(["search", *words]) == 2
    assert capsys.readouterr().err == f"error: {complaint}\n"
    name, value = words[0].removeprefix("--"), words[1]
    with pytest.raises(ValueError) as error:
        diffnas.search(**{name: float(value) if name == "momentum" else int(value) if value.isdigit() else value})
    assert str(error.value) == complaint


def test_the_page_of_the_options_is_as_they_are():
    written = runpy.run_path(str(DOCS / "write_options.py"))["written"]()
    assert (DOCS / "options.md").read_text(encoding="utf-8") == written, "run: python docs/write_options.py"


def test_all_options_are_known_without_torch():
    code = "import sys; from diffnas.cli import main; assert main(sys.argv[1:]) == 0; sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "search", "--help-all"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_version_is_that_of_the_distribution():
    assert diffnas.__version__ == version("diffnas")
