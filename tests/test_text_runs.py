"""Whole runs on texts and tables as a user gives them: the command line, and what it leaves behind."""

import json
import math
from pathlib import Path

import pytest

import diffnas
from diffnas.api.notes import recipe_on
from diffnas.cli import main
from diffnas.engine.settings import Source

TINY = [f"--set={phase}.{key}" for phase in ("search", "evaluate") for key in ("channels=8", "batch=4", "window=8")]
TINY += ["--epochs", "1", "--evaluate-epochs", "1", "--set=search.alpha_warmup=0", "--quiet"]


@pytest.fixture(scope="module")
def finished(book: Path) -> Path:
    """A whole run on a text, in the space of recurrent cells."""
    out = book.parent / "run"
    assert main(["run", str(book), "--space", "recurrent", *TINY, "--out", str(out)]) == 0
    return out


def test_the_space_of_recurrent_cells_chooses_its_task_and_recipe(finished: Path):
    record = json.loads((finished / "run.json").read_text())
    assert record["space"]["name"] == "recurrent"
    assert record["task"]["name"] == "language"
    assert record["notes"]["recipe"] == "text-small"
    tested = json.loads((finished / "evaluation" / "result.json").read_text())["test"]
    assert tested["perplexity"] == pytest.approx(math.exp(tested["loss"]))


def test_the_report_of_a_text_has_its_metrics(finished: Path):
    page = (finished / "report.html").read_text()
    assert "perplexity" in page
    assert "bits" in page


@pytest.mark.parametrize(
    ("data", "tokens", "recipe"),
    [
        ("text", None, "text-transformer"),
        ("text", "words", "text-words"),
        ("digits", None, None),
        ("missing.csv", None, "forecast-small"),
    ],
)
def test_the_recipe_follows_the_data(data, tokens, recipe):
    assert recipe_on(data, Source(tokens=tokens)) == recipe


def test_a_prepared_text_is_read_as_words(tmp_path: Path):
    (tmp_path / "book.txt").write_text("no <unk> black\n" * 50)
    assert recipe_on(str(tmp_path / "book.txt"), Source()) == "text-words"


def test_a_prompt_is_continued_and_the_seed_decides(finished: Path, capsys):
    def said(*words: str) -> str:
        assert main(["predict", str(finished), "--prompt", "the cat", "--length", "30", *words]) == 0
        return capsys.readouterr().out

    assert said("--seed", "1") == said("--seed", "1") != said("--seed", "2")
    assert said().startswith("the cat")
    assert len(json.loads(said("--json"))["text"]) == 30
    assert said("--temperature", "0", "--seed", "1") == said("--temperature", "0", "--seed", "2")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt", "a", "picture.png"], "takes a prompt and no files"),
        (["--prompt", "a", "--length", "0"], "length must be a whole number from 1"),
        (["--prompt", "a", "--temperature", "-1"], "temperature must be a number from 0"),
    ],
)
def test_a_bad_prompt_gets_one_line(finished: Path, capsys, words, message):
    assert main(["predict", str(finished), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--space", "darts"], "space 'darts' is for pictures, and book.txt has sequences"),
        (["--set=search.batch=500"], "500 columns of"),
        (["--size", "8"], "size is an option of pictures"),
        (["--encoding", "utf-9"], "unknown encoding 'utf-9'"),
        (["--tokens", "letters"], "tokens must be 'characters' or 'words'"),
    ],
)
def test_a_text_that_cannot_be_searched_gets_one_line_and_leaves_nothing(book: Path, capsys, tmp_path, words, message):
    assert main(["run", str(book), *TINY, *words, "--out", str(tmp_path / "run")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_text_that_has_moved_is_named_when_a_run_goes_on(book: Path, tmp_path: Path, capsys):
    place = tmp_path / "moved.txt"
    place.write_text(book.read_text())
    assert main(["search", str(place), *_searched(), "--out", str(tmp_path / "run")]) == 0
    place.unlink()
    assert main(["search", "--resume", str(tmp_path / "run")]) == 2
    assert "no longer in" in " ".join(capsys.readouterr().err.split())


def test_the_cost_of_a_search_of_a_text_is_told(book: Path, capsys):
    assert main(["search", str(book), *_searched(), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["cost"]
    assert told["edges"] == 36
    assert told["macs"] > 0


def test_sequences_with_a_label_are_learned_and_judged(tmp_path: Path, capsys):
    for name, slope in (("down", -1), ("up", 1)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(10):
            rows = [f"{slope * step + number}" for step in range(4 + number % 3)]
            (tmp_path / "data" / name / f"{number}.csv").write_text("\n".join(rows))
    assert main(["run", str(tmp_path / "data"), *TINY, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert (
        main(["predict", str(tmp_path / "run"), str(tmp_path / "data" / "up" / "0.csv"), "--top", "2", "--json"]) == 0
    )
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert sum(each["probability"] for each in found["classes"]) == pytest.approx(1)


def test_the_next_row_of_a_table_is_predicted(tmp_path: Path, capsys):
    rows = [f"{math.sin(step / 3)},{step % 5}" for step in range(300)]
    (tmp_path / "table.csv").write_text("\n".join(["wave,saw", *rows]))
    assert main(["run", str(tmp_path / "table.csv"), *TINY, "--out", str(tmp_path / "run")]) == 0
    assert "naive forecast" in " ".join(capsys.readouterr().err.split())
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "table.csv"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert set(found["next"]) == {"wave", "saw"}


def test_digits_row_by_row_are_sequences(tmp_path: Path):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rows, labels = bunch.images / 16, bunch.target
    data = diffnas.from_sequences((rows[:300], labels[:300]), (rows[300:400], labels[300:400]))
    settings = {"epochs": 6, "channels": 24, "batch": 20}
    found = diffnas.evaluate("DARTS_V2_RNN", data, **settings)
    assert found.test["accuracy"] > 0.4


def _searched() -> list[str]:
    sizes = ["--epochs", "1", "--channels", "6", "--batch", "4", "--set", "window=8", "--set", "alpha_warmup=0"]
    return ["--space", "recurrent", *sizes, "--quiet"]
