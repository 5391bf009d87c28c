"""A search in several stages: each with its own settings, epochs that count on, and a way back into any of them."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from interrupted import Stop, assert_same

from diffnas.components.perturbation import perturbation
from diffnas.components.stages import Pause, Stage
from diffnas.engine import pause
from diffnas.engine.cost import Prospect, estimate
from diffnas.engine.listen import Interrupted, Silent
from diffnas.engine.settings import SearchSettings
from diffnas.method import darts, darts_pt
from diffnas.space import nas_bench_201


def half_of_each_edge(at: Pause) -> None:
    """The stronger half of the operations go on in a new supernet; one that was given up comes back."""
    keep = at.keep
    strength = at.at_rest().alpha.masked_fill(~keep, -torch.inf)
    keep = strength >= strength.median(dim=1, keepdim=True).values
    keep[0] = True
    at.note(kept=keep.sum(dim=1).tolist())
    at.rebuild(keep)


def drop_one(at: Pause) -> None:
    keep = at.keep
    row = int(torch.randint(len(keep), (1,), generator=at.generator("row")))
    keep[row] = False
    at.note(row=row, accuracy=at.measure(at.at_rest().mix * keep).score)
    at.decide(keep)


def three(space, epochs: int) -> tuple[Stage, ...]:
    return (
        Stage(name="wide", epochs=epochs),
        Stage(name="deep", epochs=2, settings={"depth": 5, "lr": 0.1, "alpha_warmup": 1}, enter=half_of_each_edge),
        Stage(name="select", epochs=2, settings={"lr": 0.002, "lr_min": 0.002}, before_epoch=drop_one, may_stop=False),
    )


STAGED = replace(darts, name="staged", stages=three)


def test_epochs_count_on_and_settings_are_those_of_each_stage(quick):
    trace = quick(STAGED).trace
    assert [line["epoch"] for line in trace] == [0, 1, 2, 3, 4, 5]
    assert [line["stage"] for line in trace] == ["wide", "wide", "deep", "deep", "select", "select"]
    assert [line["lr"] for line in trace] == pytest.approx([0.025, 0.013, 0.1, 0.0505, 0.002, 0.002])
    assert trace[2]["parameters"] > trace[1]["parameters"], "a deeper supernet"
    assert trace[2]["events"] == [{"kept": [5, 3, 3, 3, 3, 3]}]
    assert trace[3]["events"] == []
    # alpha is drawn anew, stands still for the first epoch of its stage, and then moves.
    assert trace[2]["alpha"] != trace[1]["alpha"] != trace[0]["alpha"]
    assert (trace[2]["held_out"], trace[3]["held_out"] is None) == (None, False)
    gone = [[row for row, kept in enumerate(line["keep"]) if not any(kept)] for line in trace]
    assert gone[3] == []
    assert set(gone[4]) == {trace[4]["events"][0]["row"]}
    assert set(gone[5]) == {trace[line]["events"][0]["row"] for line in (4, 5)}


@pytest.fixture(scope="module")
def staged(quick, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search in stages that was left alone."""
    folder = tmp_path_factory.mktemp("staged") / "whole"
    quick(STAGED, out=folder)
    return folder


@pytest.mark.parametrize("stops", [[2, 5], [6], [7, 3], [13], [14, 1], [18]], ids=str)
def test_a_staged_search_that_is_interrupted_ends_as_one_left_alone(
    quick, staged: Path, tmp_path: Path, stops: list[int]
):
    for number, steps in enumerate(stops):
        with pytest.raises(Interrupted, match="--resume"):
            quick(STAGED, out=tmp_path / "parts", resume=number > 0, listener=Stop(steps))
    quick(STAGED, out=tmp_path / "parts", resume=True)
    assert_same(staged, tmp_path / "parts")


class EndInPause(Silent):
    """Asks the run to end after so many epochs, so that it is heard in the pause before the next one."""

    def __init__(self, epochs: int) -> None:
        self.left = Stop(epochs)

    def epoch(self, line) -> None:
        self.left.step(0.0, 0.0)


def test_a_search_that_is_interrupted_in_a_pause_makes_it_again(quick, staged: Path, tmp_path: Path):
    with pytest.raises(Interrupted):
        quick(STAGED, out=tmp_path / "parts", listener=EndInPause(5))
    kept = torch.load(tmp_path / "parts" / "checkpoint" / "last.pt", weights_only=True)
    assert (kept["epoch"], kept["step"]) == (5, 0), "it did not end in a pause: the test shows nothing"
    quick(STAGED, out=tmp_path / "parts", resume=True)
    assert_same(staged, tmp_path / "parts")


def test_a_stopping_rule_ends_a_stage_and_sees_only_its_epochs(quick):
    def enough(history, space):
        return "enough" if len(history) == 1 else None

    result = quick(replace(STAGED, stopping=(enough,)))
    assert [line["stage"] for line in result.trace] == ["wide", "deep", "select", "select"]
    assert result.stopped is None


def test_progress_tells_the_stage_and_counts_all_epochs(quick):
    begun = []

    class Heard(Silent):
        def begin(self, phase: str, epochs: int, steps: int, done: int, task: object) -> None:
            begun.append((phase, epochs, done))

    quick(STAGED, listener=Heard())
    assert begun == [("search, wide", 6, 0), ("search, deep", 6, 6), ("search, select", 6, 12)]


def test_measuring_in_a_pause_leaves_no_trace(quick):
    def look(at: Pause) -> None:
        measured = [at.measure(at.at_rest().mix) for _ in range(2)]
        assert measured[0] == measured[1]
        assert 0 < measured[0].score < 1

    def stages(act):
        return lambda space, epochs: (Stage(name="search", epochs=epochs, before_epoch=act),)

    looking, blind = (quick(replace(darts, stages=stages(act))) for act in (look, None))
    assert [line["alpha"] for line in looking.trace] == [line["alpha"] for line in blind.trace]
    assert [line["train"]["loss"] for line in looking.trace] == [line["train"]["loss"] for line in blind.trace]


def test_the_cost_counts_the_epochs_of_all_stages(data):
    settings = SearchSettings(epochs=2, batch=20, channels=4, depth=3)
    assert (
        estimate(Prospect(data=data, space=nas_bench_201, method=STAGED, settings=settings, device="cpu")).epochs == 6
    )


PT = replace(darts_pt, stages=partial(perturbation, every=1))


@pytest.fixture(scope="module")
def selected(quick, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with a selection that was left alone."""
    folder = tmp_path_factory.mktemp("selected") / "whole"
    quick(PT, out=folder)
    return folder


@pytest.mark.parametrize("stops", [[5], [7, 4], [12]], ids=str)
def test_a_selection_that_is_interrupted_ends_as_one_left_alone(
    quick, selected: Path, tmp_path: Path, stops: list[int]
):
    for number, steps in enumerate(stops):
        with pytest.raises(Interrupted, match="--resume"):
            quick(PT, out=tmp_path / "parts", resume=number > 0, listener=Stop(steps))
    quick(PT, out=tmp_path / "parts", resume=True)
    assert_same(selected, tmp_path / "parts")


class EndWhenMeasured(Silent):
    """Asks the run to end in the middle of a measurement of the selection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
        self.left, measure = Stop(batches), pause.fetched

        def counted(*arguments, **options):
            for batch in measure(*arguments, **options):
                self.left.step(0.0, 0.0)
                yield batch

        monkeypatch.setattr(pause, "fetched", counted)


def test_a_selection_that_is_interrupted_while_it_measures_decides_the_same(
    quick, selected: Path, tmp_path: Path, monkeypatch
):
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        quick(PT, out=tmp_path / "parts", listener=EndWhenMeasured(patched, 23))
    kept = torch.load(tmp_path / "parts" / "checkpoint" / "last.pt", weights_only=True)
    assert kept["step"] == 0, "it did not end in a pause: the test shows nothing"
    quick(PT, out=tmp_path / "parts", resume=True)
    assert_same(selected, tmp_path / "parts")
