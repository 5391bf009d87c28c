"""Chains that are read off under their targets, and ceilings of memory that no network of a search breaks."""

import itertools
import json
from dataclasses import replace

import pytest
import torch

import diffnas
from diffnas.cli.show import search_numbers
from diffnas.components.chance import drawn
from diffnas.components.discretize import winners
from diffnas.components.relaxation import relax
from diffnas.components.schedule import Moment
from diffnas.components.weighting import softmax
from diffnas.engine.aim import Aim, reaches
from diffnas.engine.ceiling import peaks, under_ceiling
from diffnas.engine.controller import Controller
from diffnas.engine.costing import COUNTED, Reach
from diffnas.engine.listen import Silent
from diffnas.engine.projection import onto, projected
from diffnas.engine.target import Target, parse
from diffnas.method import METHODS
from diffnas.nets.sized import Size, SizedSpace
from diffnas.space import chain, chain_space, nas_bench_201

NOW = Moment(epoch=0, step=0, epochs=1, steps=1)
SHORT = chain_space((2, 1, 1))
SMALL = {"recipe": "chain-short", "train": 100, "epochs": 2, "batch": 20, "channels": 4, "alpha_warmup": 0}


class Ear(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def reach_of(data, text: str, space=SHORT, method: str = "sparse"):
    (target,) = parse(text)
    aim = Aim(targets=(target,), size=Size(16, space.depth))
    return target, reaches(aim, space, data, METHODS[method])[target.cost]


@pytest.mark.parametrize(("cost", "ceiling"), [("macs", False), ("macs", True), ("params", False)])
def test_cells_under_a_target_are_the_likeliest_of_all_that_meet_it(data, cost: str, ceiling: bool):
    keep = torch.tensor(SHORT.offered)
    scores = torch.rand(keep.shape, generator=torch.Generator().manual_seed(1)).double() * keep
    _, reach = reach_of(data, f"{cost}=1M")
    networks = []
    for columns in itertools.product(*([column for column in range(5) if row[column]] for row in keep.tolist())):
        taken = torch.nn.functional.one_hot(torch.tensor(columns), 5).double()
        cells = winners(taken, keep, SHORT)
        networks.append(
            (float((scores.clamp_min(1e-12).log() * taken).sum()), cells, reach.costing.of(reach.sized, cells))
        )
    low, high = (pick(network[2] for network in networks) for pick in (min, max))
    target = Target(cost=cost, value=round((low + high) / 2), ceiling=ceiling)
    # Under a ceiling, not below nine tenths of it.
    near = [each for each in networks if target.met(each[2]) and each[2] >= 0.9 * target.value]
    assert len(near) > 2
    assert projected(scores, keep, target, reach) == max(near, key=lambda each: each[0])[1]


def test_cells_that_meet_their_targets_stay_and_where_none_do_too(data):
    keep = torch.tensor(SHORT.offered)
    scores = torch.rand(keep.shape, generator=torch.Generator().manual_seed(1)).double() * keep
    cells = winners(scores, keep, SHORT)
    _, reach = reach_of(data, "macs=1M")
    cost, (low, high) = reach.costing.of(reach.sized, cells), reach.interval(keep)
    other = (low + high) / 2
    assert abs(cost / other - 1) > 0.05
    for value, same in ((cost, True), (other, False), (1e9, True)):
        targets = (Target(cost="macs", value=value),)
        assert (onto(cells, scores, keep, targets, {"macs": reach}) == cells) is same
    both = (Target(cost="macs", value=other), Target(cost="params", value=10.0, ceiling=True))
    assert onto(cells, scores, keep, both, {"macs": reach, "params": reach_of(data, "params=1k")[1]}) == cells


@pytest.mark.parametrize(
    ("space", "method"), [(nas_bench_201, "sparse"), (SHORT, "path-regularized"), (SHORT, "gold-nas")]
)
def test_only_where_every_edge_is_chosen_by_itself_are_cells_read_off_so(data, space, method: str):
    target, reach = reach_of(data, "macs=600k", space, method)
    keep = torch.tensor(space.offered)
    assert projected(keep.double(), keep, target, reach) is None


def test_a_search_of_a_chain_lands_by_its_operations_at_the_width_that_it_was_searched_for():
    ear = Ear()
    found = diffnas.search("digits", target="macs=300k", listener=ear, **SMALL)
    assert found.landing.met
    assert found.landing.size == found.landing.meant
    assert search_numbers(found)["connections"] == sum(len(cell.connections) for cell in found.genotype.cells.values())
    wanted = json.dumps(found.trace[-1]["genotype"])
    changed = [note for note in ear.notes if note.startswith("read off under the target")]
    assert len(changed) == (diffnas.read(wanted) != found.genotype)


def test_a_family_of_chains_has_one_width(tmp_path):
    found = diffnas.search("digits", targets="200k,300k,400k", out=tmp_path / "run", **SMALL)
    assert len({member.landing.size for member in found.family}) == 1
    assert all(member.landing.met for member in found.family)


def test_a_network_of_a_chain_takes_the_most_memory_that_any_of_its_layers_takes(data):
    _, reach = reach_of(data, "memory<=1MiB", chain)
    table = peaks(reach)
    places = {kind: row for row, (kind, _) in enumerate(chain.edges)}
    draw = torch.Generator().manual_seed(0)
    for _ in range(8):
        cells = drawn(chain, draw)
        own = [
            table[places[kind], chain.ops.index(cell.connections[0].op if cell.connections else "none")]
            for kind, cell in cells.cells.items()
        ]
        assert reach.costing.of(reach.sized, cells) == max(own)


def test_with_100_kib_the_first_stage_of_a_chain_offers_only_nothing_and_residual_blocks():
    sized = SizedSpace(space=chain, picture=(3, 32, 32), classes=10, size=Size(24, 8, "cifar-half"))
    fit = peaks(Reach(COUNTED["memory"], sized, winners, prunes=True, separate=True)) <= 100 * 1024
    offered = [[op for op, fits in zip(chain.ops, row, strict=True) if fits] for row in fit.tolist()]
    assert offered[0] == offered[1] == ["none", "res_3"]
    assert offered[7] == list(chain.ops)


def test_what_would_break_a_ceiling_of_memory_leaves_the_space_and_nothing_else_does(data):
    _, reach = reach_of(data, "memory<=1MiB", chain)
    table = peaks(reach)
    most = float(table[0, chain.ops.index("mb_3_3")])
    aim = Aim(targets=(Target(cost="memory", value=most, ceiling=True),), size=Size(16, 8))
    left = under_ceiling(aim, chain, data, METHODS["sparse"])
    assert torch.equal(torch.tensor(left.offered), table <= most)
    assert left.cells["cell0"].ops[0] == ("none", "res_3", "mb_3_3", "next_7")
    # A target is no ceiling; a ceiling that a layer cannot keep is for ``check`` to refuse; cells have no layers.
    for target, space in ((parse("memory=100KiB"), chain), (parse("memory<=1KiB"), chain)):
        assert under_ceiling(replace(aim, targets=target), space, data, METHODS["sparse"]) is space
    assert under_ceiling(replace(aim, size=Size(16, 5)), nas_bench_201, data, METHODS["sparse"]) is nas_bench_201


def test_a_search_under_a_ceiling_of_memory_never_looks_at_what_would_break_it(tmp_path):
    out = tmp_path / "run"
    found = diffnas.search("digits", target="memory<=14KiB", out=out, **SMALL | {"epochs": 1})
    assert found.landing.met
    assert found.trace[0]["cost"]["memory"]["multiplier"] == 0
    offered = json.loads((out / "run.json").read_text())["space"]["cells"]
    assert any("mb_3_6" not in cell["ops"][0] for cell in offered.values())
    (out / "landing.json").unlink()
    assert diffnas.search(out=out, resume=True).landing.met


def test_between_what_chains_lie_is_what_reading_them_off_finds(data):
    _, reach = reach_of(data, "macs=1M", chain)
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        keep = torch.tensor(chain.offered)
        keep &= (torch.rand(keep.shape, generator=draw) < 0.5) | (keep.cumsum(dim=1) == 1)
        assert reach.interval(keep) == replace(reach, separate=False).interval(keep)


def test_pruning_leaves_a_chain_something_as_dear_as_its_target_without_pushing_it_to_be_cheap(data):
    target, reach = reach_of(data, "macs=1M")
    offered = torch.tensor(SHORT.offered)
    low, high = reach.interval(offered)
    target = replace(target, value=low + 0.9 * (high - low))
    controller = Controller((target,), {"macs": reach}, print)
    dearest = reach.additive.ops == reach.additive.ops.amax(dim=1, keepdim=True)
    at = relax(softmax, torch.zeros(offered.shape, dtype=torch.float64), offered, NOW, SHORT)
    kept = controller.guarded(offered, offered & ~dearest, at)
    assert reach.interval(kept).high >= target.value
    assert not controller.holding
    assert not controller.held_now
    ceiling = Controller((replace(target, ceiling=True),), {"macs": reach}, print)
    assert torch.equal(ceiling.guarded(offered, offered & ~dearest, at), offered & ~dearest)
