"""What holds for every method that has a name, on both spaces. A new row of ``METHODS`` is tested as it is."""

import inspect
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted import Stop, assert_same
from shared_runs import SPACES
from torch import Tensor

from diffnas.components import schedule, update
from diffnas.components.schedule import Moment
from diffnas.components.shares import of_nodes
from diffnas.data import DataSet
from diffnas.engine.checks import check, with_cells_per_place
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Interrupted, Silent
from diffnas.engine.search import search
from diffnas.engine.settings import EvaluateSettings, SearchSettings, merge_settings
from diffnas.genotype import from_json, load
from diffnas.method import METHODS, Method
from diffnas.method.facts import FACTS
from diffnas.space import SearchSpace, darts
from diffnas.task import classification

# An alias is the same value under another name.
BY_NAME = {method.name: method for method in METHODS.values()}

# Seconds for a search, and alpha so fast that gates open and shut and operations leave within it.
TINY: dict[str, Any] = {"epochs": 2, "batch": 10, "channels": 2, "depth": 3, "alpha_lr": 0.5, "backend": "plain"}
TRAIN = EvaluateSettings(epochs=1, batch=20, channels=2, depth=3, drop_path=0.0, auxiliary=0.0)


@pytest.fixture(scope="module")
def pictures(data: DataSet) -> DataSet:
    """A handful: three steps an epoch on one level, two on two."""
    return replace(data, train=data.train.subset(torch.arange(30)), test=data.test.subset(torch.arange(10)))


class Count(Silent):
    """Counts the steps."""

    steps = 0

    def step(self, loss: float, accuracy: float) -> None:
        self.steps += 1


def tiny(method: Method) -> SearchSettings:
    """Partial channels need as many channels as they have parts, and every stage an epoch."""
    least = {"channels": method.supernet.one_in, "epochs": len(method.stages(darts, 100))}
    return merge_settings(
        SearchSettings, method.settings, TINY, {name: max(TINY[name], n) for name, n in least.items()}
    )


def refusal(method: Method, space: SearchSpace, data: DataSet) -> str | None:
    """Why a method does not go with a space; None if it does."""
    try:
        check(space, method, tiny(method), data)
    except ValueError as error:
        return str(error)
    return None


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each step of alpha changed it; on the way, what every step of alpha has to be."""
    moved: list[bool] = []
    move = update.move

    def checked(optimizer: Any, tensors: list[Tensor], gradients: list[Tensor], keep: Tensor, **options: Any) -> None:
        assert [gradient.shape for gradient in gradients] == [tensor.shape for tensor in tensors]
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert (gradients[0][~keep] == 0).all(), "what was pruned has a gradient"
        before = tensors[0].detach().clone()
        move(optimizer, tensors, gradients, keep, **options)
        assert (tensors[0][~keep] == before[~keep]).all(), "what was pruned has moved"
        assert tensors[0].isfinite().all()
        moved.append(not torch.equal(before, tensors[0]))

    monkeypatch.setattr(update, "move", checked)
    return moved


@pytest.mark.parametrize("on", SPACES)
@pytest.mark.parametrize("name", BY_NAME)
def test_every_method_keeps_its_promises(
    pictures: DataSet, moves: list[bool], tmp_path: Path, name: str, on: str
) -> None:
    method, space = BY_NAME[name], SPACES[on]
    reason = refusal(method, space, pictures)
    if reason is not None:
        assert repr(space.name) in reason, "a refusal names the space"
        pytest.skip(reason)
    begin = partial(search, pictures, space=space, method=method, settings=tiny(method))

    whole, listener = tmp_path / "whole", Count()
    result = begin(out=whole, listener=listener, device="cpu")
    assert_lines_hold(result.trace, method, with_cells_per_place(space, tiny(method)))
    assert moves == [] or any(moves), "alpha never moved"
    chosen = result.trace[method.pick(result.trace, space, classification)]
    assert from_json(json.dumps(chosen["genotype"])) == result.genotype == load(whole / "genotype.json")

    parts, middle = tmp_path / "parts", max(1, min(listener.steps // 2 + 1, listener.steps - 1))
    with pytest.raises(Interrupted):
        begin(out=parts, listener=Stop(middle), device="cpu")
    begin(out=parts, resume=True, device="cpu")
    assert_same(whole, parts)

    measured = evaluate(result.genotype, pictures, settings=TRAIN, device="cpu")
    assert math.isfinite(measured.test["loss"])
    assert 0 <= measured.test["accuracy"] <= 1


def assert_lines_hold(trace: list[dict[str, Any]], method: Method, space: SearchSpace) -> None:
    """Shapes; nothing weighs anything that is not kept; no node is empty; and what has gone does not come back."""
    offered = torch.tensor(space.offered)
    assert [line["epoch"] for line in trace] == list(range(len(trace)))
    for line in trace:
        alpha, mix, keep = (torch.tensor(line[part]) for part in ("alpha", "mix", "keep"))
        assert alpha.shape == mix.shape == keep.shape == offered.shape
        assert not (keep & ~offered).any()
        assert (of_nodes(keep.sum(dim=1), space) > 0).all()
        assert (mix[~keep] == 0).all()
        assert ((mix >= 0) & (mix <= 1 + 1e-6)).all()
        assert line["indicators"]["live_ops"] == int(keep.sum())
        assert line["held_out"] is None or method.level.data == "halves"
        assert set(from_json(json.dumps(line["genotype"])).cells) == set(space.cells)
    for before, after in itertools.pairwise(trace):
        replaced = any(event.get("what") == "replaced" for event in after["events"])
        came = torch.tensor(after["keep"]) & ~torch.tensor(before["keep"])
        assert replaced or not came.any(), "an operation came back"
        assert after["macs"] <= before["macs"] or after["stage"] != before["stage"]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_method_goes_with_the_spaces_that_its_page_says(pictures: DataSet, name: str) -> None:
    goes = {on: refusal(BY_NAME[name], space, pictures) is None for on, space in SPACES.items()}
    # Cells that are each their own are searched there as well, but no table has them.
    own = BY_NAME[name].settings.get("alpha_per") == "cell"
    assert goes == {"darts": True, "nas-bench-201": FACTS[name].tabular or own}


# Schedules.

ENDS = (schedule.linear, schedule.stairs, schedule.cosine)
EPOCHS, STEPS = 1000, 3


def schedules(part: object) -> Iterator[Callable[[Moment], float]]:
    """Every schedule with two ends in a component, in the defaults of its options too."""
    if isinstance(part, partial):
        if part.func in ENDS:
            yield part
            return
        yield from schedules(part.func)
        inner: list[object] = list(part.keywords.values())
    elif is_dataclass(part) and not isinstance(part, type):
        inner = [getattr(part, field.name) for field in fields(part)]
    elif isinstance(part, tuple):
        inner = list(part)
    else:
        inner = []
        if inspect.isfunction(part):
            inner = [option.default for option in inspect.signature(part).parameters.values()]
    for each in inner:
        yield from schedules(each)


SCHEDULES = {
    f"{name} {number}": found
    for name, method in BY_NAME.items()
    for number, found in enumerate(schedules(tuple(getattr(method, field.name) for field in fields(method))))
}


def at(epoch: int, step: int) -> Moment:
    return Moment(epoch=epoch, step=step, epochs=EPOCHS, steps=STEPS)


@pytest.mark.parametrize("found", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_runs_from_its_start_to_its_end(found: Any) -> None:
    start, stop = found.keywords["start"], found.keywords["stop"]
    values = [found(at(epoch, 0)) for epoch in range(EPOCHS)] + [found(at(EPOCHS - 1, STEPS - 1))]
    assert values[0] == pytest.approx(start)
    assert values[-1] == pytest.approx(stop, abs=2 * abs(stop - start) / EPOCHS)
    upward = 1 if stop > start else -1
    assert all(upward * (after - before) >= 0 for before, after in itertools.pairwise(values))


def test_the_methods_with_schedules_are_found() -> None:
    assert {"gdas", "snas", "sparse-progressive", "path-regularized"} <= {name.rsplit(" ", 1)[0] for name in SCHEDULES}
