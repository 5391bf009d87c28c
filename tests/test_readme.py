"""What the documentation shows, works: the README, the pages of the site, and the site itself."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from diffnas.cli import app, main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TUTORIAL = DOCS / "tutorial.md"


class Block(NamedTuple):
    """Code on a page, and the line it begins in."""

    language: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(python|bash)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [Block(each[1], each[2], text.count("\n", 0, each.start(2))) for each in found]


def commands(block: Block) -> list[str]:
    """The lines of a block that call diffnas, without their comments."""
    lines = [line.partition("#")[0].strip() for line in block.code.splitlines()]
    return [line for line in lines if line.startswith("diffnas ")] if block.language == "bash" else []


def run(block: Block, page: Path, names: dict[str, object]) -> None:
    """Run a block of Python after those before it; with its place on the page, a traceback tells where to look."""
    exec(compile("\n" * block.line + block.code, str(page), "exec"), names)


COMMANDS = [line for page in PAGES for block in blocks(page) for line in commands(block)]
GROUP = typer.main.get_command(app)
WITH_PYTHON = [page for page in PAGES if page != TUTORIAL and any(b.language == "python" for b in blocks(page))]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_documentation_has_options_that_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    context = GROUP.make_context("diffnas", [*words[:1], "--help"], resilient_parsing=True)
    command = GROUP.get_command(context, words[0]) if words else GROUP
    assert command is not None, f"no command {words[0]}"
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "python":
            run(block, page, names)


# What makes a step of the tutorial short: by command, options that are added to what is typed.
SHORTER = {
    "search": ["--space=nas-bench-201", "--epochs=1", "--train=40", "--set=channels=4", "--set=depth=3"],
    "run": ["--space=nas-bench-201", "--epochs=1", "--train=40", "--evaluate-epochs=1"]
    + [f"--set={phase}.{size}" for phase in ("search", "evaluate") for size in ("channels=4", "depth=3")],
}


def test_the_tutorial_leads_from_pictures_to_an_onnx_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="the tutorial's step 7 needs the extra export")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(TUTORIAL):
        if block.language == "python":
            capsys.readouterr()
            run(block, TUTORIAL, names)
            said = capsys.readouterr().out.splitlines()
        for line in commands(block):
            words = shlex.split(line)[1:]
            assert main([*words, *SHORTER.get(words[0], [])]) == 0, line
    assert (tmp_path / "runs/mine/report.html").stat().st_size > 0
    # What the last Python of the page, with onnxruntime alone, says of eight pictures.
    assert len(said) == 8
    for line in said:
        assert re.fullmatch(r"pictures/\w+/\d+\.png (zero|one|two|three) \d+\.\d%", line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_the_documentation_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert all((page.parent / link).exists() for link in links), links


class Fetched(HTMLParser):
    """What a browser fetches by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.addresses += [address for name in ("src", "srcset", "data") if (address := of.get(name))]
        # A link element fetches; an anchor waits for a click.
        if tag == "link" and (address := of.get("href")):
            self.addresses.append(address)


def test_the_site_is_built_without_a_warning_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    for module in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(module, reason="the site needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {"index.html", "tutorial.html", "experiments/cifar/index.html"} <= {
        page.relative_to(tmp_path).as_posix() for page in pages
    }
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in parser.addresses if re.match(r"(\w+:)?//", address)], page
