"""The pages of the methods: whole, and as the methods are now."""

import runpy
from pathlib import Path

import pytest

from diffnas.catalog import CATALOG
from diffnas.cli import main
from diffnas.method import METHODS, components
from diffnas.method.facts import FACTS
from diffnas.method.pages import named, page, table

DOCS = Path(__file__).parent.parent / "docs" / "methods"
SECTIONS = ["Components", "Defaults", "Published results", "Known doubts", "How to run it"]


def test_the_written_pages_are_those_of_the_methods_as_they_are() -> None:
    files = runpy.run_path(str(DOCS / "write.py"))["written"]()
    stale = [name for name, text in files.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != text]
    left = [path.name for path in DOCS.glob("*.md") if path.name not in files]
    assert stale + left == [], "run: python docs/methods/write.py"


@pytest.mark.parametrize("name", named())
def test_a_page_has_all_its_parts(name: str) -> None:
    assert name in FACTS, "say in method/facts what was published of it, and what is to be doubted"
    text = page(name)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    method = METHODS[name]
    assert CATALOG[name] in text
    assert FACTS[name].equations.strip() in text
    for part in (*components(method).values(), *method.settings):
        assert part in text or part in ("None", "()")
    assert all(str(value) in text for value in method.settings.values())


@pytest.mark.parametrize("name", FACTS)
def test_facts_are_whole_and_fit_a_terminal(name: str) -> None:
    facts = FACTS[name]
    assert facts.published
    assert facts.doubts
    assert max(len(line) for line in facts.equations.splitlines()) <= 78
    assert facts.more is None or (DOCS.parent / facts.more).exists()


def test_the_table_has_a_row_a_method_and_tells_only_what_is_unlike_darts() -> None:
    head, _, *rows = table().splitlines()
    assert head == f"| method | {' | '.join(components(METHODS['darts']))} | settings |"
    assert len(rows) == len(named())
    cells = {row.split("`")[1]: row.split(" | ")[1:] for row in rows}
    assert "=" not in [cell.strip(" |") for cell in cells["darts"]]
    assert cells["darts-2nd"][:3] == ["=", "`unrolled`", "="]
    assert set(cells["darts-2nd"][2:-1]) == {"="}


def test_the_command_prints_a_page_and_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "darts-2nd"]) == 0
    told = capsys.readouterr().out
    assert all(section in told for section in SECTIONS)
    assert "eps = 0.01 / |d|" in told
    assert main(["methods", "--table"]) == 0
    assert capsys.readouterr().out == table()


def test_a_table_of_one_method_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "darts", "--table"]) == 2
    assert "Leave out --table or the name" in capsys.readouterr().err


TINY = (
    "--train 40 --epochs 3 --evaluate-epochs 1 --quiet --set search.batch=10 --set search.channels=4 "
    "--set search.alpha_lr=0.5 --set search.backend=plain --set evaluate.channels=2 --set evaluate.batch=200"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", named())
def test_the_first_command_of_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = page(name).split("```bash\n")[1].splitlines()[0]
    assert main([*command.split()[1:], *TINY.split()]) == 0, capsys.readouterr().err
    assert "test accuracy" in capsys.readouterr().out
