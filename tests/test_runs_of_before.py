"""Run folders that an earlier version wrote are still read, and go on."""

import json
import shutil
from pathlib import Path

import pytest

import diffnas
from diffnas.cli import main
from diffnas.engine.listen import Silent
from diffnas.engine.same import check_same
from diffnas.method import METHODS, components
from diffnas.report.reading import read_run
from diffnas.run_folder import RunFolder

BEFORE = Path(__file__).parent / "runs_of_before" / "0.1.0"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BEFORE, tmp_path / "run"))


class Told(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def warn(self, message: str) -> None:
        self.messages.append(message)


def losses(folder: Path) -> list[float]:
    return [line["train"]["loss"] for line in RunFolder(folder).trace()]


def test_it_is_read_reported_compared_and_its_network_predicts(run: Path, capsys: pytest.CaptureFixture[str]):
    assert read_run(run).finished
    assert main(["report", str(run)]) == 0
    assert main(["compare", str(run), str(BEFORE)]) == 0
    assert len(diffnas.load(run).classes) == 10
    assert capsys.readouterr().err == ""


def test_a_search_of_before_goes_on_from_its_checkpoint(run: Path):
    """It names its settings as they were called then, and its files have no digests."""
    assert "forward_by" in json.loads((run / "run.json").read_text())["settings"]
    known = losses(run)
    (run / "genotype.json").unlink()
    told = Told()
    diffnas.search(out=run, resume=True, listener=told)
    assert losses(run) == pytest.approx(known, rel=1e-3)
    assert told.messages == []


def test_an_evaluation_of_before_goes_on_though_it_knows_no_setting_that_came_later(run: Path):
    kept = json.loads((run / "evaluation" / "run.json").read_text())["settings"]
    assert not {"warmup", "decay", "flip"} & set(kept)
    result = json.loads((run / "evaluation" / "result.json").read_text())
    again = diffnas.evaluate(run, resume=True)
    assert again.test["accuracy"] == pytest.approx(result["accuracy"], abs=0.02)


def test_a_run_may_go_on_computed_another_way_and_that_is_told(run: Path):
    known = losses(run)
    (run / "genotype.json").unlink()
    told = Told()
    diffnas.search(out=run, resume=True, backend="plain", listener=told)
    assert losses(run) == pytest.approx(known, rel=1e-2)
    assert told.messages == [
        "the run goes on computed in another way: backend was 'auto' and is 'plain'. "
        "The last digits of its numbers may differ."
    ]


@pytest.mark.parametrize(
    ("method", "supernet"),
    [
        ("pc-darts", "Changes(share=4)"),
        ("gdas-released", "Changes(drawn=True)"),
        ("darts-minus", "Changes(auxiliary=linear(start=1.0, stop=0.0, every='epoch'))"),
        ("darts", "None"),
    ],
)
def test_supernet_options_of_before_are_those_of_now(tmp_path: Path, method: str, supernet: str):
    now = {"method": components(METHODS[method])}
    folder = RunFolder.create(tmp_path, {"method": {**now["method"], "supernet": supernet}})
    check_same(folder, now)
    with pytest.raises(ValueError, match="another method: supernet was"):
        check_same(folder, {"method": {**now["method"], "supernet": "SupernetOptions(one_in=2)"}})


def test_a_trace_that_is_gone_on_with_keeps_its_old_lines_as_they_were_written(run: Path):
    """A checkpoint of then holds their digest."""
    folder = RunFolder(run)
    before = (run / "trace.jsonl").read_bytes()
    lines = folder.rewind(1)
    assert (run / "trace.jsonl").read_bytes() == before[: before.index(b"\n") + 1]
    folder.append({**lines[0], "epoch": 1})
    assert [line["train"].keys() for line in folder.trace()] == [{"loss", "accuracy"}] * 2


def test_a_run_of_before_is_read_as_one_of_classification(run: Path):
    found = read_run(run)
    assert found.search is not None
    assert found.evaluation is not None
    assert found.evaluation.result is not None
    assert found.search.record.task.deciding == "accuracy"
    raw = json.loads((run / "evaluation" / "result.json").read_text())
    assert found.evaluation.result.test == {"loss": raw["loss"], "accuracy": raw["accuracy"]}
