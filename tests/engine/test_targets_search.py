"""Searches with targets, from the first step to where they land."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from interrupted import Stop, assert_same

from diffnas.components.discretize import winners
from diffnas.data import load
from diffnas.engine import aim as aims
from diffnas.engine.aim import Aim
from diffnas.engine.landing import read_landing
from diffnas.engine.listen import Interrupted, Silent
from diffnas.engine.search import search
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.engine.target import Target, parse
from diffnas.genotype import from_json, read, to_json
from diffnas.method import METHODS
from diffnas.nets.sized import Size
from diffnas.recipes import RECIPES
from diffnas.run_files import LANDING
from diffnas.run_folder import RunFolder
from diffnas.space import SPACES, nas_bench_201, s2

TINY = {"epochs": 2, "batch": 20, "channels": 4, "depth": 3, "alpha_lr": 0.03}
SIZE = Size(16, 3)


class Ear(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def share_of(share: float, space, data, method, cost: str = "macs", **more) -> Aim:
    """An aim so far between the least and the most that can be reached."""
    aim = Aim(targets=(Target(cost=cost, value=1.0),), size=SIZE, **more)
    (reach,) = aims.reaches(aim, space, data, method).values()
    low, high = reach.interval(torch.tensor(space.offered))
    return replace(aim, targets=(Target(cost=cost, value=low + share * (high - low)),))


def run(data, method="sparse", space=nas_bench_201, *, aim, **options):
    chosen = METHODS[method] if isinstance(method, str) else method
    names = ("out", "resume", "listener")
    arguments = {name: options.pop(name) for name in names if name in options}
    settings = merge_settings(SearchSettings, TINY, options)
    return search(data, space=space, method=chosen, settings=settings, device="cpu", aim=aim, **arguments)


def test_the_trace_tells_of_every_target_and_the_folder_where_it_landed(data, tmp_path):
    space, method = nas_bench_201, METHODS["darts"]
    aim = share_of(0.5, space, data, method)
    aim = replace(aim, targets=(*aim.targets, *parse("params<=1M")))
    found = run(data, "darts", aim=aim, out=tmp_path / "run")
    for line in found.trace:
        assert set(line["cost"]) == {"macs", "params"}
        cost = line["cost"]["macs"]
        assert cost["target"] == aim.targets[0].value
        assert cost["lo"] <= cost["expected"] <= cost["hi"]
        assert cost["lo"] <= cost["read_off"] <= cost["hi"]
        assert cost["multiplier"] >= 0
    at = aims.sized(space, data, found.landing.size)
    assert found.landing.costs == {name: at.cost(found.genotype, name) for name in ("macs", "params")}
    assert read_landing(RunFolder(tmp_path / "run")) == found.landing
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["target"]["targets"] == [str(target) for target in aim.targets]
    assert record["target"]["size"] == {"channels": 16, "depth": 3, "stem": "cifar"}


def test_a_search_without_a_target_says_nothing_of_costs(data, tmp_path):
    found = run(data, aim=None, out=tmp_path / "run")
    assert found.landing is None
    assert "cost" not in found.trace[0]
    assert "target" not in json.loads((tmp_path / "run" / "run.json").read_text())
    assert not (tmp_path / "run" / LANDING).exists()


@pytest.fixture(scope="module")
def again(data):
    """A search for a target, as often as it is called."""
    return partial(run, data, "sparse", s2, aim=share_of(0.4, s2, data, METHODS["sparse"]))


@pytest.fixture(scope="module")
def whole(again, tmp_path_factory):
    """The folder of that search when it was left alone."""
    folder = tmp_path_factory.mktemp("targets") / "whole"
    again(out=folder)
    return folder


@pytest.mark.parametrize("number", [3, 8])
def test_an_interrupted_search_for_a_target_goes_on_bit_for_bit(again, whole, tmp_path, number: int):
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        again(out=parts, listener=Stop(number))
    again(out=parts, resume=True)
    assert_same(whole, parts)
    assert (whole / LANDING).read_text() == (parts / LANDING).read_text()


def test_a_run_goes_on_with_its_own_target_only(data, tmp_path):
    aim = share_of(0.4, s2, data, METHODS["sparse"])
    with pytest.raises(Interrupted):
        run(data, "sparse", s2, aim=aim, out=tmp_path / "run", listener=Stop(2))
    other = replace(aim, targets=parse("macs=1.5M"))
    with pytest.raises(ValueError, match="another target"):
        run(data, "sparse", s2, aim=other, out=tmp_path / "run", resume=True)


def test_a_target_out_of_reach_leaves_nothing_behind(data, tmp_path):
    aim = Aim(targets=parse("macs=1k"), size=SIZE)
    with pytest.raises(ValueError, match="cannot be met: the smallest network"):
        run(data, "sparse", s2, aim=aim, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# One of each kind: gates, both levels, beyond the first order, drawn weights, other updates, edges, own cells, stages.
KINDS = [
    ("darts", "s2"),
    ("darts-2nd", "nas-bench-201"),
    ("path-regularized", "nas-bench-201"),
    ("gdas", "nas-bench-201"),
    ("gaea", "nas-bench-201"),
    ("pc-darts", "s2"),
    ("gold-nas", "gold-nas"),
    ("fair-darts", "s2"),
    ("darts-pt", "nas-bench-201"),
    ("milenas", "nas-bench-201"),
]


@pytest.mark.parametrize(("name", "space"), KINDS, ids=[name for name, _ in KINDS])
def test_a_target_moves_alpha_in_every_kind_of_method(data, name: str, space: str):
    method = METHODS[name]
    settings = {"epochs": 2, "batch": 20, "alpha_warmup": 0, "eigenvalue_every": 0}
    kept = {key: value for key, value in method.settings.items() if key not in settings and key != "epochs"}
    aim = share_of(0.1, SPACES[space], data, method)
    steered, free = (
        run(data, method, SPACES[space], aim=each, **{**kept, **settings, "depth": 3, "channels": 4})
        for each in (aim, None)
    )
    assert steered.landing is not None or steered.problems
    line = steered.trace[-1]["cost"]["macs"]
    assert line["lo"] <= line["hi"]
    if name != "darts-pt":  # its selection does not look at alpha
        assert steered.trace[-1]["alpha"] != free.trace[-1]["alpha"]


def test_a_search_ends_when_everything_is_decided(data):
    def first(at):
        keep = at.keep.clone()
        keep[:, 1:] = False
        return keep

    method = replace(METHODS["darts"], pruning=first, discretize=winners)
    aim = share_of(0.0, s2, data, method)
    found = run(data, method, s2, aim=aim, epochs=4)
    assert found.stopped == "every edge is decided"
    assert len(found.trace) == 1
    assert found.trace[0]["cost"]["macs"]["lo"] == found.trace[0]["cost"]["macs"]["hi"]
    assert found.landing.met


def test_pruning_never_puts_the_target_out_of_reach(data):
    def last(at):
        keep = at.keep.clone()
        keep[:, :1] = False
        return keep

    ear = Ear()
    method = replace(METHODS["darts"], pruning=last)
    aim = share_of(0.3, s2, data, method)
    found = run(data, method, s2, aim=aim, epochs=4, listener=ear)
    assert all(line["cost"]["macs"]["lo"] <= aim.targets[0].value for line in found.trace)
    assert sum("pruning is too fast for the target" in said for said in ear.warnings) == 2


def test_a_family_leaves_cells_for_each_target(data, tmp_path):
    method = METHODS["darts"]
    targets = tuple(share_of(share, nas_bench_201, data, method).targets[0] for share in (0.2, 0.5, 0.8))
    aim = Aim(targets=(targets[1],), size=SIZE, family=targets)
    found = run(data, method, aim=aim, out=tmp_path / "run")
    assert [member.landing.targets[0] for member in found.family] == list(targets)
    assert all(member.landing.met for member in found.family)
    costs = [member.landing.costs["macs"] for member in found.family]
    assert costs == sorted(costs)
    for member in found.family:
        assert read(member.path) == member.genotype
        assert member.path.with_suffix(".landing.json").exists()


def test_a_target_that_tightens_keeps_cells_of_each_target_on_the_way(data, tmp_path):
    method = METHODS["darts"]
    targets = tuple(share_of(share, nas_bench_201, data, method).targets[0] for share in (0.2, 0.6))
    aim = Aim(targets=targets[:1], size=SIZE, family=targets, tightens=True)
    found = run(data, method, aim=aim, out=tmp_path / "run", epochs=8, alpha_lr=0.3)
    first = {
        target: next((line["epoch"] for line in found.trace if target.met(line["cost"]["macs"]["read_off"])), None)
        for target in targets
    }
    assert set(first.values()) != {None}
    for member in found.family:
        (target,) = member.landing.targets
        assert member.landing.met
        if first[target] is not None:
            assert member.epoch == first[target]
            assert to_json(member.genotype) == to_json(from_json(json.dumps(found.trace[member.epoch]["genotype"])))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["target"]["tightens"]


@pytest.mark.parametrize("name", ["sparse", "darts", "fair-darts"])
@pytest.mark.parametrize("warmup", [0, 1])
def test_a_multiplier_by_balance_is_weighed_before_alpha_moves(data, name: str, warmup: int):
    method = METHODS[name]
    aim = replace(share_of(0.3, s2, data, method), start=None)
    options = {"batch": 10, "alpha_warmup": warmup, "epochs": 2}
    balanced, usual = (run(data, method, s2, aim=each, **options) for each in (aim, replace(aim, start=1.0)))
    multipliers, others = ([line["cost"]["macs"]["multiplier"] for line in each.trace] for each in (balanced, usual))
    assert multipliers[warmup] != others[warmup]
    if warmup:
        # Weighing leaves no trace: until alpha moves the searches are one.
        assert balanced.trace[0]["alpha"] == usual.trace[0]["alpha"]
        assert balanced.trace[0]["train"] == usual.trace[0]["train"]


def test_an_interrupted_search_that_weighs_and_tightens_goes_on_bit_for_bit(data, tmp_path):
    """It stops while it weighs, in its first epoch, and when it has weighed, in its second."""
    target = share_of(0.4, s2, data, METHODS["sparse"]).targets[0]
    aim = Aim(targets=(target,), size=SIZE, family=(target, replace(target, value=1.5 * target.value)))
    again = partial(run, data, "sparse", s2, aim=replace(aim, start=None, tightens=True), alpha_warmup=1)
    again(out=tmp_path / "whole")
    for number, resume in ((2, False), (6, True)):
        with pytest.raises(Interrupted):
            again(out=tmp_path / "parts", listener=Stop(number), resume=resume)
    again(out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def end_to_end(share: float, seed: int):
    data, method = load("digits"), METHODS["sparse"]
    settings = merge_settings(SearchSettings, method.settings, RECIPES["digits"].search, {"seed": seed})
    aim = share_of(share, s2, data, method)
    return search(data, space=s2, method=method, settings=settings, device="cpu", aim=aim, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_search_on_the_digits_lands_within_five_percent(share: float, seed: int):
    found = end_to_end(share, seed)
    (target,) = found.landing.targets
    assert abs(found.landing.costs["macs"] / target.value - 1) <= 0.05
    assert abs(found.landing.size.channels - 16) <= 4


def test_a_short_search_lands_within_five_percent(data):
    aim = share_of(0.5, s2, data, METHODS["sparse"])
    found = run(data, "sparse", s2, aim=aim, epochs=4)
    assert found.landing.met
    assert abs(found.landing.costs["macs"] / aim.targets[0].value - 1) <= 0.05
