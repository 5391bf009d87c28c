"""Whatever a component returns, the search goes on or says in one line which component must return what."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diffnas
from diffnas.components import level, pruning, regularizer, schedule, weighting
from diffnas.components.gates import Gates
from diffnas.components.stages import Stage
from diffnas.components.traits import traits
from diffnas.data import DataSet, load, subsample
from diffnas.engine.listen import NotFinite
from diffnas.engine.search import SearchResult, search
from diffnas.engine.settings import SearchSettings
from diffnas.genotype import Cell, Connection, Genotype, published
from diffnas.method import darts, describe, fair_darts, gates
from diffnas.space import SearchSpace, nas_bench_201, s1


@pytest.fixture(scope="module")
def few() -> DataSet:
    return subsample(load("digits"), 40, 10)


def go(data: DataSet, space: SearchSpace = nas_bench_201, base: Any = darts, **parts: Any) -> SearchResult:
    """A search of two steps, with other parts in DARTS."""
    own = {name: parts.pop(name) for name in ("alpha_lr", "prune_every") if name in parts}
    settings = SearchSettings(epochs=1, batch=10, channels=4, depth=3, backend="plain", **own)
    return search(data, space=space, method=replace(base, name="x", **parts), settings=settings, device="cpu")


def made(change: Callable[[Tensor], Any]) -> Callable[..., Any]:
    """A weighting: softmax, changed."""

    def changed(alpha: Tensor, keep: Tensor, moment: Any) -> Any:
        return change(weighting.softmax(alpha, keep, moment))

    return changed


def always(value: Any) -> Callable[..., Any]:
    """A component that returns the same whatever it is given."""
    return lambda *given: value


class Flat(nn.Module):
    def forward(self, alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
        return alpha.flatten()


class WildGates(Gates):
    def __call__(self, alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
        return alpha.tanh() * keep

    def open(self, alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
        return (alpha + 2.0) * keep


def forgets_keep(alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
    return alpha.softmax(dim=-1)


def prunes_by_itself(alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
    keep[0, 0] = False
    return weighting.softmax(alpha, keep, moment)


class Bursting(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for tensor in group["params"]:
                tensor.data.fill_(torch.inf)


WEIGHTS = [
    ("too few columns", made(lambda mix: mix[:, :2]), ["changed", "(6, 5) of float32", "(6, 2)"]),
    ("too few rows", made(lambda mix: mix[1:]), ["changed", "(6, 5)", "(5, 5)"]),
    ("one dimension", Flat(), ["Flat", "(6, 5)", "(30,)"]),
    ("double", made(lambda mix: mix.double()), ["changed", "float32", "float64"]),
    ("half", made(lambda mix: mix.half()), ["changed", "float32", "float16"]),
    ("complex", made(lambda mix: mix + 0j), ["changed", "complex64"]),
    ("sparse", made(lambda mix: mix.to_sparse()), ["changed", "sparse_coo"]),
    ("elsewhere", made(lambda mix: mix.to("meta")), ["changed", "on meta"]),
    (
        "a NumPy array",
        made(lambda mix: mix.detach().numpy()),
        ["changed", "NumPy array (6, 5)", "nothing is converted"],
    ),
    ("nested lists", made(lambda mix: mix.tolist()), ["changed", "a list of 6"]),
    ("nothing", made(lambda mix: None), ["changed", "None (is a return missing?)"]),
    ("no numbers", made(lambda mix: mix * torch.nan), ["changed", "finite numbers", "nan at [0, 0]"]),
    ("infinity", made(lambda mix: mix / (mix < 0)), ["changed", "finite numbers", "inf at [0, 0]"]),
    ("negative numbers", made(lambda mix: mix - 0.5), ["changed", "from 0 on", "compete", "-0."]),
]

PARTS: list[tuple[str, dict[str, Any], list[str]]] = [
    *((f"weights: {what}", {"weighting": component}, ["weighting", *words]) for what, component, words in WEIGHTS),
    ("weights where keep is False", {"weighting": forgets_keep, "space": s1}, ["forgets_keep", "exactly 0", "keep"]),
    ("a changed keep", {"weighting": prunes_by_itself}, ["prunes_by_itself", "in place", "clone"]),
    ("a class", {"weighting": weighting.LearnedEntmax}, ["weighting", "the class LearnedEntmax", "LearnedEntmax(...)"]),
    ("a text", {"weighting": "softmax"}, ["weighting", "'softmax'", "diffnas.method.component"]),
    ("other arguments", {"weighting": lambda alpha, keep: alpha}, ["(alpha, keep, moment)", "<lambda>"]),
    ("no weighting", {"weighting": None}, ["weighting", "None"]),
    (
        "odds as probabilities",
        {"base": fair_darts, "weighting": WildGates()},
        ["probability WildGates.open", "0 to 1", "2"],
    ),
    ("strengths: too few", {"edges": made(lambda mix: mix[:1])}, ["weighting of edges", "changed", "(3, 3)", "(1, 3)"]),
    ("strengths: nothing", {"edges": made(lambda mix: None)}, ["weighting of edges", "changed", "None"]),
    ("keep in floats", {"pruning": lambda at: at.mix}, ["pruning rule", "<lambda>", "of bool", "of float64"]),
    ("another keep", {"pruning": lambda at: at.keep[:2]}, ["pruning rule", "(6, 5) of bool", "(2, 5)"]),
    ("no keep", {"pruning": lambda at: None}, ["pruning rule", "None"]),
    ("keep in NumPy", {"pruning": lambda at: at.keep.numpy()}, ["pruning rule", "NumPy array (6, 5) of bool"]),
    ("a keep in place", {"pruning": lambda at: at.keep.fill_(True)}, ["pruning rule", "in place"]),
    ("a penalty for each edge", {"regularizers": (lambda at: at.mix.sum(1),)}, ["regularizer", "scalar", "(6,)"]),
    ("no penalty", {"regularizers": (lambda at: None,)}, ["regularizer", "scalar", "None"]),
    ("a number", {"regularizers": (lambda at: 0.5,)}, ["regularizer", "scalar", "the float 0.5"]),
    ("a complex penalty", {"regularizers": (lambda at: at.mix.sum() * 1j,)}, ["regularizer", "complex64"]),
    ("a whole penalty", {"regularizers": (lambda at: at.keep.sum(),)}, ["regularizer", "int64"]),
    ("a penalty of nan", {"regularizers": (lambda at: (at.mix - 2).log().sum(),)}, ["regularizer", "finite", "nan"]),
    ("a changed mix", {"regularizers": (lambda at: at.mix.mul_(2).sum(),)}, ["regularizer", "in place"]),
    ("one penalty", {"regularizers": regularizer.zero_one}, ["regularizers", "tuple", "(zero_one,)"]),
    ("a list of penalties", {"regularizers": [regularizer.zero_one]}, ["regularizers", "tuple", "a list of 1"]),
    ("a step as level", {"level": level.single_step}, ["Level", "single_step", 'data="halves"']),
    ("an update that makes a list", {"update": lambda tensors: [tensors]}, ["update", "Optimizer", "a list of 1"]),
    (
        "an optimizer of others",
        {"update": lambda tensors: torch.optim.SGD([torch.zeros(1)], lr=1.0)},
        ["update", "all tensors that it is given"],
    ),
    (
        "an update of one rate",
        {"update": lambda tensors: torch.optim.Adam(tensors), "alpha_lr": 0.1},
        ["update", "takes no lr", "alpha_lr"],
    ),
    ("an update to nan", {"update": partial(Bursting, lr=1.0)}, ["update Bursting", "finite", "--alpha-lr"]),
    ("no genotype", {"discretize": lambda scores, keep, space: None}, ["discretize rule", "Genotype", "None"]),
    ("a text as genotype", {"discretize": lambda scores, keep, space: "|skip~0|"}, ["Genotype", "the str '|skip~0|'"]),
    (
        "another skeleton",
        {"discretize": lambda scores, keep, space: published("DARTS_V2")},
        ["discretize rule", "Genotype", "normal", "normal, reduce of 'darts'"],
    ),
    ("stages in a list", {"stages": lambda space, epochs: [Stage(name="a", epochs=1)]}, ["stages", "tuple", "list"]),
    ("no stages", {"stages": lambda space, epochs: ()}, ["stages", "one Stage or more", "a tuple of 0"]),
    ("stages by name", {"stages": lambda space, epochs: ("search",)}, ["stages", "Stage", "a tuple of 1"]),
    ("a stop by True", {"stopping": (lambda history, space: True,)}, ["stopping rule", "sentence", "the bool True"]),
    ("a list of stops", {"stopping": [always(None)]}, ["stopping", "tuple", "a list of 1"]),
    ("a pick from behind", {"pick": lambda history, space, task: -1}, ["pick", "from 0 to 0", "the int -1"]),
    ("a pick beyond", {"pick": lambda history, space, task: 1}, ["pick", "from 0 to 0", "the int 1"]),
    ("half a pick", {"pick": lambda history, space, task: 0.0}, ["pick", "an int", "the float 0.0"]),
    ("no pick", {"pick": lambda history, space, task: None}, ["pick", "None"]),
    ("one member", {"family": lambda history, space: 0}, ["family", "list of positions", "the int 0"]),
    ("a member beyond", {"family": lambda history, space: [3]}, ["family", "from 0 to 0"]),
    ("supernet options in a dict", {"supernet": {"one_in": 2}}, ["supernet", "SupernetOptions", "dict"]),
    ("settings in a list", {"settings": ["epochs"]}, ["settings", "a list of 1"]),
    *(
        (f"a schedule of {value!r}", {"weighting": partial(weighting.softmax, temperature=always(value))}, words)
        for value, words in (
            (None, ["schedule", "finite number", "None"]),
            (torch.nan, ["schedule", "finite number", "nan"]),
            ("hot", ["schedule", "finite number", "the str 'hot'"]),
            (torch.ones(()), ["schedule", "finite number", "a tensor ()"]),
        )
    ),
    (
        "a control of nothing",
        {"regularizers": (partial(regularizer.resources, weight=lambda history, space: None),)},
        ["control", "finite number", "None"],
    ),
]


@pytest.mark.parametrize(("parts", "words"), [case[1:] for case in PARTS], ids=[case[0] for case in PARTS])
def test_a_wrong_result_of_a_component_is_refused_by_name(
    few: DataSet, parts: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError) as error:
        go(few, **parts)
    text = str(error.value)
    assert "\n" not in text
    assert [word for word in words if word not in text] == [], text


def moves_by(gradients: Callable[[list[Tensor]], Any]) -> level.Level:
    """A level that moves alpha by its gradients, changed."""

    def wayward(step: level.Step) -> None:
        step.move_alpha(gradients(step.both_gradients(step.train)))

    return level.Level(step=wayward, data="whole")


def shows(batch: Callable[[Tensor, Tensor], Any]) -> level.Level:
    """A level that trains on a batch of its own making."""

    def wayward(step: level.Step) -> None:
        step.weight_gradient(batch(*step.train))

    return level.Level(step=wayward, data="whole")


def reads_held_out(step: level.Step) -> None:
    step.alpha_gradient(step.held_out)


def yields(step: level.Step) -> Iterator[None]:
    yield step.move_weights()


def strays(step: level.Step) -> None:
    with step.elsewhere([torch.ones(1)]):
        pass


LEVELS = [
    ("no gradients", moves_by(lambda given: None), ["move_alpha", "a list of 1 tensors", "None"]),
    ("gradients of None", moves_by(lambda given: [None]), ["move_alpha", "(6, 5) of float32", "None"]),
    ("too many", moves_by(lambda given: given * 2), ["move_alpha", "a list of 1 tensors", "a list of 2"]),
    ("another shape", moves_by(lambda given: [given[0][:1]]), ["move_alpha", "(6, 5)", "(1, 5)"]),
    ("NumPy", moves_by(lambda given: [given[0].numpy()]), ["move_alpha", "NumPy array"]),
    ("pictures alone", shows(lambda x, y: x), ["a batch: (pictures, labels)", "a tensor (10, 1, 8, 8)"]),
    ("other channels", shows(lambda x, y: (x.repeat(1, 3, 1, 1), y)), ["(B, 1, H, W)", "(10, 3, 8, 8)"]),
    ("pictures in double", shows(lambda x, y: (x.double(), y)), ["of float32 on cpu", "float64"]),
    ("no pictures", shows(lambda x, y: (x[:0], y[:0])), ["(B, 1, H, W)", "(0, 1, 8, 8)"]),
    ("labels in floats", shows(lambda x, y: (x, y.float())), ["a label for each picture", "int64", "float32"]),
    ("too few labels", shows(lambda x, y: (x, y[:3])), ["a label for each picture", "(10,)", "(3,)"]),
    ("held-out of none", level.Level(step=reads_held_out, data="whole"), ["reads_held_out", 'data="halves"']),
    ("a generator", level.Level(step=yields, data="whole"), ["yields", "nothing", "generator"]),
    ("weights elsewhere", level.Level(step=strays, data="whole"), ["strays", "elsewhere", "a list of 1"]),
]


@pytest.mark.parametrize(("own", "words"), [case[1:] for case in LEVELS], ids=[case[0] for case in LEVELS])
def test_the_arguments_of_a_level_to_a_step_are_checked(few: DataSet, own: level.Level, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        go(few, level=own)
    text = str(error.value)
    assert [word for word in ["step of the level", *words] if word not in text] == [], text


def test_a_level_that_reads_held_out_pictures_while_alpha_warms_up_hears_why_there_are_none(few: DataSet) -> None:
    settings = SearchSettings(epochs=2, batch=10, channels=4, depth=3, backend="plain", alpha_warmup=1)
    method = replace(darts, name="x", level=level.Level(step=reads_held_out, data="halves"))
    with pytest.raises(ValueError, match=r"reads_held_out .* if not step\.frozen"):
        search(few, space=nas_bench_201, method=method, settings=settings, device="cpu")


@pytest.mark.parametrize("data", ["both", None])
def test_a_level_has_data_of_two_kinds(data: Any) -> None:
    with pytest.raises(ValueError, match="'whole' or 'halves'"):
        level.Level(step=level.single_step, data=data)


def in_stages(*stage: Stage) -> Callable[..., tuple[Stage, ...]]:
    return lambda space, epochs: stage


def acting(act: Callable[[Any], Any]) -> Callable[..., tuple[Stage, ...]]:
    return in_stages(Stage(name="odd", epochs=1, enter=act))


ACTS = [
    ("an unknown setting", in_stages(Stage(name="odd", epochs=1, settings={"lrr": 1})), ["'lrr'", "'lr'"]),
    ("a wrong setting", in_stages(Stage(name="odd", epochs=1, settings={"lr": -1.0})), ["lr", "-1"]),
    ("an unknown operation", in_stages(Stage(name="odd", epochs=1, ops=("sep",))), ["'sep'", "nas-bench-201"]),
    ("an act that is none", in_stages(Stage(name="odd", epochs=1, enter="go")), ["enter", "the str 'go'"]),  # type: ignore[arg-type]
    ("an act that returns", acting(lambda pause: pause.keep), ["nothing", "a tensor (6, 5) of bool"]),
    ("a decision in floats", acting(lambda pause: pause.decide(pause.keep.float())), ["decide", "bool", "float32"]),
    ("a rebuild of less", acting(lambda pause: pause.rebuild(pause.keep[1:])), ["rebuild", "(6, 5)", "(5, 5)"]),
    ("no replacement", acting(lambda pause: pause.replace(None, {})), ["replace", "None"]),
    ("strange parents", acting(lambda pause: pause.replace(pause.keep, {(0, 9): 1})), ["replace", "parents", "dict"]),
    ("none as parent", acting(lambda pause: pause.replace(pause.keep, {(0, 1): 0})), ["replace", "other than none"]),
    ("NumPy to measure", acting(lambda pause: pause.measure(pause.at_rest().mix.numpy())), ["measure", "NumPy"]),
    ("too little to measure", acting(lambda pause: pause.measure(pause.at_rest().mix[1:])), ["measure", "(5, 5)"]),
    ("nan to measure", acting(lambda pause: pause.measure(pause.at_rest().mix * torch.nan)), ["measure", "not finite"]),
]


@pytest.mark.parametrize("own", [{"epochs": 0}, {"epochs": 1.5}, {"epochs": 1, "deeper": 0.0}], ids=str)
def test_a_stage_that_cannot_be_is_refused_where_it_is_made(own: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a"):
        Stage(name="odd", **own)


@pytest.mark.parametrize(("own", "words"), [case[1:] for case in ACTS], ids=[case[0] for case in ACTS])
def test_the_arguments_of_a_stage_to_a_pause_are_checked(few: DataSet, own: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        go(few, stages=own)
    text = str(error.value)
    assert [word for word in ["stage", "'odd'", *words] if word not in text] == [], text


def test_a_stage_cannot_bring_an_operation_where_no_edge_offers_it(few: DataSet) -> None:
    with pytest.raises(ValueError, match="which does not offer it"):
        go(few, space=s1, stages=acting(lambda pause: pause.replace(torch.ones_like(pause.keep), {})))


def test_a_stage_that_changes_its_copy_of_keep_changes_nothing_else(few: DataSet) -> None:
    seen = []

    def tamper(pause: Any) -> None:
        pause.keep.zero_()
        seen.append(int(pause.keep.sum()))

    go(few, stages=acting(tamper))
    assert seen == [30]


def test_cells_with_operations_of_another_space_are_refused(few: DataSet) -> None:
    cell = Cell(inputs=1, nodes=4, connections=(Connection("sep_conv_3x3", 0, 3),), output=(3,))
    other = Genotype(skeleton="nas-bench-201", cells={"normal": cell})
    with pytest.raises(ValueError, match=r"discretize rule <lambda> .*of the space's operations.*sep_conv_3x3"):
        go(few, discretize=lambda scores, keep, space: other)


class Stumbling(Exception):  # noqa: N818 - a user's own
    pass


def stumbles(alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
    raise Stumbling("over a stone")


def test_an_exception_of_a_component_passes_with_its_traceback_and_a_note_that_names_it(few: DataSet) -> None:
    with pytest.raises(Stumbling, match="over a stone") as error:
        go(few, weighting=stumbles)
    assert error.traceback[-1].name == "stumbles"
    if sys.version_info >= (3, 11):
        assert error.value.__notes__ == ["(in the weighting stumbles, called with alpha, keep, moment)"]


def test_gradients_of_alpha_that_are_not_finite_are_not_blamed_on_the_loss(few: DataSet) -> None:
    def rooted(at: Any) -> Tensor:
        return ((at.mix - at.mix.detach()).abs().sum()).sqrt()

    with pytest.raises(NotFinite, match=r"gradients of alpha .* roots and logarithms of 0 in softmax, rooted"):
        go(few, regularizers=(rooted,))


def test_a_component_that_cannot_work_leaves_no_folder(few: DataSet, tmp_path: Any) -> None:
    settings = SearchSettings(epochs=1, batch=10, channels=4, depth=3, backend="plain")
    method = replace(darts, name="x", discretize=lambda scores, keep, space: None)
    with pytest.raises(ValueError, match="discretize rule"):
        search(few, space=nas_bench_201, method=method, settings=settings, device="cpu", out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_sound_components_of_many_kinds_are_not_refused(few: DataSet) -> None:
    class Sharper:
        def __call__(self, alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
            return weighting.softmax(alpha * 2, keep, moment)

    class Tempered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.fixed = nn.Parameter(torch.ones(()), requires_grad=False)

        def forward(self, alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
            return weighting.softmax(alpha * self.scale * self.fixed, keep, moment)

    for sound in (Sharper(), Tempered(), partial(weighting.softmax, temperature=lambda moment: 1 + moment.epoch)):
        found = go(few, weighting=sound, update=torch.optim.Adam, regularizers=(lambda at: at.mix.double().sum(),))
        assert found.genotype.skeleton == "nas-bench-201"


def test_a_component_of_a_class_is_described_by_its_name_and_not_by_where_it_is_in_memory() -> None:
    class Sharp:
        def __call__(self, alpha: Tensor, keep: Tensor, moment: Any, *, by: float = 1.0) -> Tensor:
            return alpha * by

    assert describe(Sharp()) == describe(Sharp()) == "Sharp"
    assert describe(partial(Sharp(), by=2.0)) == "Sharp(by=2.0)"


def test_components_by_text_name_the_way_for_what_is_none() -> None:
    for value, words in ((weighting.softmax, "the function softmax"), (None, "None"), (3, "the int 3")):
        with pytest.raises(ValueError, match=rf"'weighting' is {words}.*dataclasses\.replace"):
            diffnas.search("digits", components={"weighting": value})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="mapping of roles to texts"):
        diffnas.search("digits", components=["weighting"])  # type: ignore[arg-type]


HOSTILE = """
import sys
from dataclasses import replace
import numpy, torch
import diffnas
from diffnas.components import level, weighting
from diffnas.method import darts

def narrow(alpha, keep, moment): return weighting.softmax(alpha, keep, moment)[:, :2]
def double(alpha, keep, moment): return weighting.softmax(alpha, keep, moment).double()
def numbers(alpha, keep, moment): return numpy.ones((28, 8), numpy.float32)
def strided(alpha, keep, moment): return weighting.softmax(alpha, keep, moment).t().contiguous().t()
def shrinks(channels, stride, affine): return torch.nn.Conv2d(channels, channels, 3, stride)
def widens(channels, stride, affine):
    return torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv2d(channels, 2 * channels, 3, stride, 1),
                               torch.nn.BatchNorm2d(2 * channels, affine=affine))
def few(step):
    step.weight_gradient((step.train[0][:, :, ::2, ::2], step.train[1]))
    step.move_weights()

def own(factory):
    ops = ("skip_connect", "own")
    cells = {kind: diffnas.dense_cell(inputs=2, nodes=2, ops=ops) for kind in ("normal", "reduce")}
    return diffnas.SearchSpace(name="own", cells=cells, ops=ops, factories={"own": factory}, in_degree=2)

CASES = {
    "narrow": {"method": replace(darts, weighting=narrow)},
    "double": {"method": replace(darts, weighting=double)},
    "numbers": {"method": replace(darts, weighting=numbers)},
    "strided": {"method": replace(darts, weighting=strided)},
    "few": {"method": replace(darts, level=level.Level(step=few, data="whole"))},
    "shrinks": {"method": darts, "space": own(shrinks)},
    "widens": {"method": darts, "space": own(widens)},
}
torch.set_num_threads(1)
for name, parts in CASES.items():
    try:
        asked = {"space": "darts", "train": 40, "epochs": 1, "batch": 10, "channels": 4, "depth": 3, "threads": 1}
        diffnas.search("digits", **{**asked, **parts}, check_memory=False)
        print(name, "found")
    except ValueError as error:
        print(name, "refused", name in str(error))
"""


def test_hostile_components_never_crash_the_compiled_kernels() -> None:
    done = subprocess.run([sys.executable, "-c", HOSTILE], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    refused = dict.fromkeys(("narrow", "double", "numbers", "shrinks", "widens"), "refused True")
    assert told == {**refused, "strided": "found", "few": "found"}


@traits(gives_zeros=True)
def never_zero(alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
    return weighting.softmax(alpha, keep, moment)


@traits(gives_zeros=True)
def sparsemax(alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
    return weighting.entmax(alpha, keep, moment, order=2.0)


@traits(competes=False)
def gate(alpha: Tensor, keep: Tensor, moment: Any) -> Tensor:
    return alpha.sigmoid() * keep


def test_zeros_that_are_declared_and_never_come_are_refused(few: DataSet) -> None:
    with pytest.raises(ValueError, match=r"never_zero declares gives_zeros, and .* gave no weight of exactly 0"):
        go(few, weighting=never_zero, pruning=pruning.exact_zero)


def test_weights_that_compete_sum_to_one_unless_it_is_declared_otherwise(few: DataSet) -> None:
    with pytest.raises(ValueError, match=r"has the trait competes, .* sum to 1; .* declare @traits\(competes=False\)"):
        go(few, weighting=made(lambda mix: 2 * mix))
    assert go(few, weighting=gate, base=gates).genotype


@pytest.mark.parametrize("prunes", [pruning.exact_zero, lambda at: at.keep & (at.mix != 0)])
def test_a_sparse_weighting_of_ones_own_is_searched_and_pruned(few: DataSet, prunes: Any) -> None:
    assert go(few, weighting=sparsemax, pruning=prunes).genotype


def test_an_order_that_rises_from_softmax_gives_zeros_in_time(few: DataSet) -> None:
    rising = partial(weighting.entmax, order=partial(schedule.linear, start=1.0, stop=2.0, every="epoch"))
    assert go(few, weighting=rising, pruning=pruning.exact_zero).genotype
