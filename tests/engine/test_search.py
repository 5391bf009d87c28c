import json
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy
import pytest
import torch
from interrupted import MEASURED
from torch import Tensor

from diffnas.components import discretize, level, schedule, update, weighting
from diffnas.components.schedule import Moment
from diffnas.components.supernet_options import SupernetOptions
from diffnas.components.traits import traits
from diffnas.components.weighting import LearnedEntmax
from diffnas.data import DataSet, Pictures
from diffnas.engine.listen import NotFinite, Silent
from diffnas.engine.search_state import begin, halves
from diffnas.engine.settings import SearchSettings
from diffnas.genotype import from_json, load, parse, to_nas_bench_201
from diffnas.method import COMPONENTS, METHODS, component, darts, sparse
from diffnas.space import DARTS_OPS, SearchSpace, dense_cell, nas_bench_201, s4
from diffnas.space import darts as darts_space

LINE = {
    "epoch",
    "stage",
    "events",
    "train",
    "held_out",
    "lr",
    "seconds",
    "steps",
    "parameters",
    "found_parameters",
    "macs",
    "macs_left",
    "eigenvalue",
    "peak_memory",
    "indicators",
    "genotype",
    "alpha",
    "mix",
    "keep",
    "strengths",
}


def without_clock(trace: list[dict]) -> list[dict]:
    """A trace without what the machine decides."""
    return [{name: entry for name, entry in line.items() if name not in MEASURED} for line in trace]


def test_a_trace_is_written_down_as_it_is_returned(quick, tmp_path: Path):
    result = quick("sparse", out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "trace.jsonl").read_text().splitlines()]
    assert lines == result.trace
    assert [set(line) for line in lines] == [LINE | {"start"}, LINE]
    assert [line["epoch"] for line in lines] == [0, 1]
    assert 0 < lines[1]["parameters"] <= lines[0]["parameters"]
    assert all(0 <= line["train"]["accuracy"] <= 1 for line in lines)
    assert load(tmp_path / "run" / "genotype.json") == result.genotype
    assert len(result.discarded) == 6


def test_sparse_weights_prune_and_the_trace_counts_what_is_left(quick):
    trace = quick("sparse", epochs=3).trace
    live = [sum(map(sum, line["keep"])) for line in trace]
    assert live == [line["indicators"]["live_ops"] for line in trace]
    assert live[-1] < 30
    assert trace[-1]["parameters"] < 11_000


# Gates are read off by a rule of their own in a space without an in-degree.
BASES = {
    "sigmoid": "gates",
    "simplex": "gaea",
    "exponentiated": "gaea",
    "survivors": "gold-nas",
    "eigenvalue": "r-darts",
    "before-growth": "r-darts",
}
NAMED = [
    ("gates" if "gates" in name else BASES.get(name, "darts"), role, name)
    for role, names in COMPONENTS.items()
    for name in names
    # Some initializers need a run, or norms with weights; they have tests of their own.
    if role != "pruning" and (role, name) not in {("initial", each) for each in ("run", "file", "zero-residual")}
]


@pytest.mark.parametrize(("method", "role", "name"), NAMED, ids=lambda part: part)
def test_every_component_that_can_be_named_works_in_a_search(quick, method: str, role: str, name: str):
    options = {"eigenvalue_every": 1} if method == "r-darts" else {}
    epochs = 3 if name == "progressive" else 1  # an epoch for each of its stages
    result = quick(replace(METHODS[method], **{role: component(role, name)}), epochs=epochs, batch=60, **options)
    assert len(result.trace) == epochs or "perturbation" in name


@pytest.mark.parametrize("levels", [level.single, level.bilevel], ids=["single", "bilevel"])
def test_weights_that_ignore_alpha_are_searched_too(quick, levels):
    trace = quick(replace(darts, weighting=weighting.uniform, level=levels), epochs=1).trace
    assert trace[0]["mix"] == [[pytest.approx(0.2)] * 5] * 6


@pytest.mark.parametrize("levels", [level.single, level.bilevel], ids=["single", "bilevel"])
def test_a_search_goes_on_when_every_edge_has_ended_as_none(quick, levels):
    def only_none(at):
        return torch.tensor([[True, False, False, False, False]]).expand(6, 5)

    result = quick(replace(sparse, pruning=only_none, level=levels))
    assert result.trace[-1]["indicators"]["live_ops"] == 6
    assert result.genotype.cells["normal"].connections == ()
    assert "no path leads" in " ".join(result.problems)


@pytest.mark.parametrize("levels", [level.single, level.bilevel], ids=["single", "bilevel"])
def test_a_learned_order_moves_during_a_search(quick, tmp_path: Path, levels):
    method = replace(darts, weighting=LearnedEntmax(1.5), level=levels)
    quick(method, out=tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoint" / "last.pt", weights_only=True)["weighting"]
    assert len(kept) == 1
    assert abs(kept[0].item() - method.weighting.position.item()) > 0.01, "the order did not move"


def test_a_search_leaves_the_method_as_it_was(quick):
    method = replace(darts, weighting=LearnedEntmax(1.5))
    before = method.weighting.position.item()
    quick(method, epochs=1)
    assert method.weighting.position.item() == before


def test_the_trace_leaves_out_the_auxiliary_skip(quick):
    faded, whole = (
        quick(replace(METHODS["darts-minus"], supernet=SupernetOptions(auxiliary=weight)), epochs=1).trace[0]
        for weight in (0.0, 1.0)
    )
    for line in (faded, whole):
        assert torch.tensor(line["mix"]).shape == (6, 5)
        assert torch.tensor(line["mix"]).sum(1).tolist() == pytest.approx([1.0] * 6)
    assert faded["train"]["loss"] != whole["train"]["loss"]
    assert faded["train"]["loss"] == pytest.approx(quick("darts", epochs=1).trace[0]["train"]["loss"], rel=1e-4)


EDGES = {
    "softmax": {"edges": weighting.softmax},
    "simplex": {"edges": weighting.simplex, "weighting": weighting.simplex, "update": update.exponentiated},
}


@pytest.mark.parametrize("parts", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("levels", [level.single, level.bilevel], ids=["single", "bilevel"])
def test_strengths_of_edges_are_learned_with_alpha(quick, parts, levels):
    first, last = quick(replace(darts, **parts, level=levels), alpha_warmup=1, alpha_init=0.0, alpha_lr=0.3).trace
    assert first["strengths"] == pytest.approx([1, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3])
    strengths = torch.tensor(last["strengths"])
    assert [part.sum().item() for part in strengths.split([1, 2, 3])] == pytest.approx([1, 1, 1])
    assert (strengths - torch.tensor(first["strengths"])).abs().max() > 1e-3


def test_uniform_weights_leave_the_strengths_to_learn(quick):
    method = replace(darts, weighting=weighting.uniform, edges=weighting.softmax)
    trace = quick(method, alpha_init=0.0, alpha_lr=0.3).trace
    assert abs(trace[-1]["strengths"][1] - 0.5) > 0.01


def test_cells_are_read_off_by_weights_times_strengths(quick):
    space = replace(
        darts_space, cells={kind: dense_cell(inputs=2, nodes=3, ops=DARTS_OPS) for kind in darts_space.cells}
    )
    line = quick("pc-darts", space=space, alpha_init=2.0, alpha_lr=1e-6, epochs=1).trace[0]
    mix, keep, strengths = (torch.tensor(line[name]) for name in ("mix", "keep", "strengths"))
    found = from_json(json.dumps(line["genotype"]))
    assert found == discretize.strongest_inputs(mix * strengths.unsqueeze(1), keep, space)
    assert found != discretize.strongest_inputs(mix, keep, space)


@pytest.mark.parametrize(("name", "rate"), [("darts", 0.003), ("gaea", 1.0), ("fair-darts", 0.03)])
def test_a_recipe_speeds_alpha_up_from_what_is_usual_for_the_method(data: DataSet, name: str, rate: float):
    def rates(**given: float) -> list[float]:
        settings = SearchSettings(channels=2, depth=3, alpha_speed=10, **given)
        state = begin(data, nas_bench_201, METHODS[name], settings, torch.device("cpu"))
        return [group["lr"] for group in state.alpha_optimizer.param_groups]

    assert rates() == [rate]
    assert rates(alpha_lr=0.5) == [0.5]


def test_penalties_move_alpha(quick):
    def against_none(at):
        return 100 * at.mix[:, 0].mean()

    plain, pushed = (quick(replace(darts, regularizers=rules)) for rules in ((), (against_none,)))
    shares = [result.trace[-1]["indicators"]["none_share"] for result in (plain, pushed)]
    assert shares[1] < shares[0] - 0.01


def test_two_searches_with_one_seed_are_the_same_to_the_last_byte(quick, tmp_path: Path):
    for name in ("a", "b"):
        quick("sparse", out=tmp_path / name)
    traces = [(tmp_path / name / "trace.jsonl").read_text().splitlines() for name in "ab"]
    first, second = (without_clock([json.loads(line) for line in trace]) for trace in traces)
    assert json.dumps(first) == json.dumps(second)
    assert (tmp_path / "a" / "genotype.json").read_bytes() == (tmp_path / "b" / "genotype.json").read_bytes()


def test_another_seed_gives_another_search(quick):
    first, second = (quick("darts", seed=seed, epochs=1).trace[0] for seed in (0, 1))
    assert first["alpha"] != second["alpha"]
    assert first["train"]["loss"] != second["train"]["loss"]


def test_a_folder_changes_nothing_about_a_search(quick, tmp_path: Path):
    assert without_clock(quick(out=tmp_path / "run").trace) == without_clock(quick().trace)


def test_the_random_numbers_of_the_user_stay_where_they_were(quick):
    torch.manual_seed(5)
    numpy.random.seed(5)
    before = torch.get_rng_state(), numpy.random.get_state()[1].tolist()
    first = quick("darts", epochs=1).trace
    assert torch.equal(torch.get_rng_state(), before[0])
    assert numpy.random.get_state()[1].tolist() == before[1]
    torch.manual_seed(6)
    assert without_clock(quick("darts", epochs=1).trace) == without_clock(first)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sealed(Pictures):
    """A split that nobody may look at."""

    def take(self, indices):
        raise AssertionError("the test split was read")

    def to(self, device):
        raise AssertionError("the test split was moved")


@pytest.mark.parametrize("name", ["sparse", "darts"])
def test_the_test_split_is_never_touched(quick, data: DataSet, name: str):
    sealed = replace(data, test=Sealed(images=data.test.images, labels=data.test.labels))
    quick(name, data=sealed, epochs=1)


@pytest.mark.parametrize("split", ["shuffled", "ordered"])
@pytest.mark.parametrize("count", [2, 7, 100])
def test_halves_are_disjoint_and_cover_everything(split, count: int):
    train, held_out = halves(count, SearchSettings(split=split, seed=3))
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(count))
    assert abs(len(train) - len(held_out)) <= 1
    if split == "ordered":
        assert train.tolist() == list(range(count // 2))


def test_shuffled_halves_follow_the_seed():
    first, same, other = (halves(50, SearchSettings(seed=seed))[0].tolist() for seed in (0, 0, 1))
    assert first == same != other


def test_alpha_stands_still_while_it_warms_up(quick):
    for name in ("sparse", "darts"):
        trace = quick(name, alpha_warmup=1, epochs=2).trace
        start = quick(name, alpha_warmup=9, epochs=1).trace[0]["alpha"]
        assert trace[0]["alpha"] == start
        assert trace[1]["alpha"] != start
        assert trace[0]["indicators"]["live_ops"] == 30


def test_nothing_is_removed_while_pruning_warms_up(quick):
    trace = quick("sparse", prune_warmup=2, epochs=3, alpha_lr=0.1).trace
    live = [line["indicators"]["live_ops"] for line in trace]
    assert live[:2] == [30, 30]
    assert live[2] < 30
    assert 0.0 in {weight for row in trace[1]["mix"] for weight in row}, "no weight was zero: the test shows nothing"


def test_pruning_at_the_end_of_an_epoch_removes_nothing_within_it(quick):
    seen = []

    def watch(at):
        seen.append(at.moment.epoch)
        return at.keep & (at.mix != 0)

    quick(replace(sparse, pruning=watch), prune_every="epoch")
    assert seen == [0, 0, 1]  # it is asked once more before anything is written
    seen.clear()
    quick(replace(sparse, pruning=watch), prune_every="step")
    assert seen == [0] * 7 + [1] * 6


def test_the_rate_of_the_weights_falls_as_a_cosine(quick):
    rates = [line["lr"] for line in quick("darts", epochs=2, lr=0.1, lr_min=0.02).trace]
    assert rates == pytest.approx([0.1, 0.06])


def test_a_rule_can_end_a_search_early(quick):
    def enough(history, space):
        return "enough" if len(history) == 2 else None

    result = quick(replace(darts, stopping=(enough,)), epochs=5)
    assert (result.stopped, len(result.trace)) == ("enough", 2)


def test_a_decided_cell_stops_the_search_and_is_the_result(quick):
    def strongest(at):
        return at.mix == at.mix.amax(dim=1, keepdim=True)

    method = replace(sparse, pruning=strongest, stopping=component("stopping", "all-decided"))
    result = quick(method, epochs=30)
    assert (result.stopped, len(result.trace)) == ("every edge is decided", 1)
    assert result.discarded == (0.0,) * 6
    assert {weight for row in result.trace[0]["mix"] for weight in row} == {0.0, 1.0}


@pytest.mark.parametrize("schedule_of", ["step", "epoch"])
def test_the_result_is_the_genotype_of_the_last_line(quick, schedule_of):
    falling = partial(schedule.linear, start=1.0, stop=0.001, every=schedule_of)
    result = quick(replace(darts, weighting=partial(weighting.softmax, temperature=falling)))
    assert from_json(json.dumps(result.trace[-1]["genotype"])) == result.genotype
    highest = [max(row) for row in result.trace[-1]["mix"]]
    assert list(result.discarded) == pytest.approx([1 - weight for weight in highest], abs=1e-6)


def test_a_loss_that_leaves_the_numbers_ends_the_search_and_says_what_helps(quick, tmp_path: Path):
    for name in ("sparse", "darts"):
        with pytest.raises(NotFinite, match=r"step \d of epoch \d.*lower learning rate"):
            quick(name, out=tmp_path / name, lr=1e30, clip=0.0, epochs=3)
        assert not (tmp_path / name / "genotype.json").exists()


def test_a_good_checkpoint_outlives_a_later_loss_that_is_not_a_number(quick, tmp_path: Path):
    def poison(at):
        nothing = (at.mix * 0.0).sum()
        return nothing.sqrt() if at.moment.epoch == 1 else nothing  # a finite penalty without a finite gradient

    with pytest.raises(NotFinite):
        quick(replace(sparse, regularizers=(poison,)), out=tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoint" / "last.pt", weights_only=True)
    assert (kept["epoch"], kept["step"]) == (1, 0)
    assert kept["alpha"].isfinite().all()
    assert all(tensor.isfinite().all() for tensor in kept["supernet"].values())


class Heard(Silent):
    def __init__(self) -> None:
        self.told: list = []

    def begin(self, phase: str, epochs: int, steps: int, done: int, task: object) -> None:
        self.told.append((phase, epochs, steps, done))

    def step(self, loss: float, accuracy: float) -> None:
        self.told.append("step")

    def epoch(self, line) -> None:
        self.told.append(line["epoch"])

    def end(self) -> None:
        self.told.append("end")


def test_a_listener_hears_every_step_and_epoch_in_order(quick):
    heard = Heard()
    quick("darts", listener=heard)
    steps = ["step"] * 3
    assert heard.told == [("search", 2, 3, 0), *steps, 0, *steps, 1, "end"]


def test_a_warning_is_told_once(quick):
    warned: list[str] = []

    class Warned(Silent):
        def warn(self, message: str) -> None:
            warned.append(message.split(": ", 1)[1])

    def only_skips(scores, keep, space):
        skips = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
        return parse(skips)

    quick(replace(darts, discretize=only_skips), listener=Warned())
    assert len(warned) == len(set(warned)) >= 2


def test_half_precision_leaves_alpha_in_float32(quick, tmp_path: Path):
    quick("sparse", precision="bf16-mixed", out=tmp_path / "run", epochs=1)
    kept = torch.load(tmp_path / "run" / "checkpoint" / "last.pt", weights_only=True)
    assert kept["alpha"].dtype == torch.float32
    assert {tensor.dtype for tensor in kept["supernet"].values()} <= {torch.float32, torch.int64}


def test_the_darts_skeleton_and_noise_are_searched(quick):
    def runs():
        return without_clock(quick("entmax3", space=s4, channels=2, epochs=1, batch=30).trace)

    assert runs() == runs()


def test_a_space_of_ones_own_is_searched(quick):
    cell = dense_cell(inputs=2, nodes=2, ops=["none", "double", "sep_conv_3x3"])
    space = SearchSpace(
        name="mine",
        cells={"normal": cell, "reduce": cell},
        ops=("none", "double", "sep_conv_3x3"),
        in_degree=1,
        factories={"double": lambda slot: torch.nn.AvgPool2d(3, slot.stride, 1, divisor_override=4)},
    )
    result = quick("darts", space=space, epochs=1)
    assert {c.op for c in result.genotype.cells["normal"].connections} <= {"double", "sep_conv_3x3"}


@traits(gives_zeros=True)
def near_best(alpha: Tensor, keep: Tensor, moment: Moment, *, within: float) -> Tensor:
    """A sparse weighting of one's own: what lies farther below the best of its edge weighs nothing."""
    best = alpha.masked_fill(~keep, -torch.inf).amax(dim=1, keepdim=True)
    return weighting.softmax(alpha, keep & (alpha >= best - within), moment)


REFUSED = {
    "a sparse weighting of one's own": (partial(near_best, within=0.005), {}, "removes one whose alpha lies 0.005"),
    "an order that prunes at the start": (
        partial(weighting.entmax, order=4.0),
        {},
        "removes one whose alpha lies 0.0052",
    ),
    "a start of alpha that prunes": (partial(weighting.entmax, order=3.0), {"alpha_init": 0.1}, "--alpha-init 0.003"),
    "the same with the usual order": (weighting.entmax, {"alpha_init": 0.1}, "entmax over 5 operations removes"),
    "an order below one": (partial(weighting.entmax, order=0.5), {}, "at least 1, got 0.5"),
    "a net too shallow": (partial(weighting.entmax, order=3.0), {"depth": 2}, "at least 3 cells"),
    "an unknown stem": (partial(weighting.entmax, order=3.0), {"stem": "cifr"}, "stem must be 'cifar', 'cifar-half'"),
}


@pytest.mark.parametrize(("weigh", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_a_search_that_cannot_work_is_refused_before_anything_is_written(
    quick, tmp_path: Path, weigh, settings, message: str
):
    with pytest.raises(ValueError) as error:
        quick(replace(sparse, weighting=weigh), out=tmp_path / "run", **settings)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_device_or_precision_is_refused(quick):
    with pytest.raises(ValueError, match="'quantum'"):
        quick(device="quantum")
    with pytest.raises(ValueError, match=r"unknown precision '16-mixed'\. Did you mean 'bf16-mixed'"):
        quick(precision="16-mixed")


def test_a_fixed_seed_still_gives_the_recorded_search(quick):
    """A change that should not move results keeps this; one that should brings new numbers."""
    result = quick("sparse", epochs=3, alpha_lr=0.01)
    found = {
        "live": [line["indicators"]["live_ops"] for line in result.trace],
        "loss": [line["train"]["loss"] for line in result.trace],
        "alpha": result.trace[-1]["alpha"],
        "cell": to_nas_bench_201(result.genotype),
    }
    assert found["live"] == GOLDEN["live"]
    assert found["cell"] == GOLDEN["cell"]
    assert found["loss"] == pytest.approx(GOLDEN["loss"], rel=1e-3)
    # Processors differ in the last digits of a sum, and 18 steps carry them on.
    assert found["alpha"] == [pytest.approx(row, abs=1e-3) for row in GOLDEN["alpha"]]


GOLDEN = {
    "live": [28, 25, 24],
    "loss": [2.33133, 2.26572, 2.21664],
    "cell": "|avg_pool_3x3~0|+|skip_connect~0|skip_connect~1|+|nor_conv_3x3~0|nor_conv_1x1~1|nor_conv_1x1~2|",
    "alpha": [
        [-0.01557, 0.02282, -0.02708, 0.02323, 0.02543],
        [-0.03566, 0.01851, -0.00201, -0.00951, 0.01323],
        [-0.00439, 0.01608, 0.01158, -0.00553, -0.03971],
        [-0.04174, 0.00349, -0.02941, 0.02535, -0.01593],
        [0.01709, 0.01475, 0.06104, -0.03402, 0.00938],
        [0.01870, -0.04234, 0.04633, -0.00411, -0.00504],
    ],
}


@pytest.mark.parametrize("space", [nas_bench_201, s4], ids=lambda space: space.name)
def test_removed_operations_leave_the_weights_and_the_optimizers(data: DataSet, space: SearchSpace):
    settings = SearchSettings(channels=4, depth=4)
    state = begin(data, space, sparse, settings, torch.device("cpu"))
    start = list(state.supernet.parameters())
    for tensor in (state.alpha, *start):
        tensor.grad = torch.ones_like(tensor)
    state.weight_optimizer.step()
    state.alpha_optimizer.step()
    keep = torch.tensor(space.offered)
    keep[:, -2] = False
    keep[0] = torch.arange(len(space.ops)) == 0  # an edge that is decided
    state.prune_(keep)
    left = list(state.supernet.parameters())
    assert 0 < len(left) < len(start)
    (group,) = state.weight_optimizer.param_groups
    assert {id(weight) for weight in group["params"]} == {id(weight) for weight in left}
    assert {id(weight) for weight in state.weight_optimizer.state} == {id(weight) for weight in left}
    remembered = state.alpha_optimizer.state[state.alpha]
    for name in ("exp_avg", "exp_avg_sq"):
        assert (remembered[name][~keep] == 0).all()
        assert (remembered[name][0] == 0).all()
    state.prune_(torch.ones_like(keep))
    assert torch.equal(state.keep, keep & torch.tensor(space.offered)), "what is gone came back"


@pytest.mark.parametrize(("spoiled", "helps"), [("weight", "a lower learning rate"), ("running_var", "fewer cells")])
def test_a_state_that_is_not_finite_is_never_saved(quick, tmp_path: Path, spoiled: str, helps: str):
    def spoil(step):
        level.single_step(step)
        state = step.state.supernet.frame.state_dict()
        state[next(name for name in state if name.endswith(f".{spoiled}"))].fill_(math.inf)

    # One step an epoch: its loss is that of before the step, and says nothing.
    method = replace(sparse, level=level.Level(step=spoil, data="whole"))
    with pytest.raises(NotFinite, match=rf"supernet\..*\.{spoiled} became infinite or nan in epoch 1\. .*{helps}"):
        quick(method, batch=120, epochs=1, out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()
