"""Run folders that an earlier version wrote are still read, and go on."""

import json
import shutil
from pathlib import Path

import pytest

import diffnas
from diffnas.cli import main
from diffnas.engine.listen import Silent
from diffnas.engine.run import RunFolder
from diffnas.method import METHODS, components
from diffnas.report.reading import read_run

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
    return [json.loads(line)["train_loss"] for line in (folder / "trace.jsonl").read_text().splitlines()]


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
    assert again.accuracy == pytest.approx(result["accuracy"], abs=0.02)


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
    folder.check_same(now)
    with pytest.raises(ValueError, match="another method: supernet was"):
        folder.check_same({"method": {**now["method"], "supernet": "SupernetOptions(one_in=2)"}})
