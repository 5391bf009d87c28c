"""A user's own operation is tried where it will stand, before a net of it trains."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diffnas
from diffnas.genotype import Cell, Connection, Genotype
from diffnas.nets import own
from diffnas.nets.costs import operation_macs
from diffnas.nets.ops import OPS, build
from diffnas.nets.sites import chosen, offered
from diffnas.nets.sizes import sizes_of_genotype, sizes_of_space
from diffnas.nets.slot import OpFactory, Slot
from diffnas.space import SearchSpace, dense_cell, nas_bench_201

OFFERED = ("none", "skip_connect", "own")


def space_of(factory: Any) -> SearchSpace:
    cells = {kind: dense_cell(inputs=2, nodes=2, ops=OFFERED) for kind in ("normal", "reduce")}
    return SearchSpace(name="own", cells=cells, ops=OFFERED, factories={"own": factory}, in_degree=2)


def try_out(factory: Any, picture: tuple[int, int, int] = (1, 8, 8)) -> None:
    space = space_of(factory)
    own.try_parts(sizes_of_space(space, 2, picture[0], channels=4, depth=3), offered(space), space.factories, picture)


class Applied(nn.Module):
    """A module that is a function."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Counting(nn.Module):
    """A module that works in training mode only."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else x[:, :1]


def applied(function: Callable[[Tensor, int], Any]) -> OpFactory:
    def factory(slot: Slot) -> nn.Module:
        return Applied(lambda x: function(x, slot.stride))

    return factory


def every(x: Tensor, stride: int) -> Tensor:
    return x[:, :, ::stride, ::stride]


WRONG = [
    ("ignores the stride", applied(lambda x, stride: x), ["(2, 8, 4, 4)", "stride 2", "(2, 8, 8, 8)"]),
    ("one channel", applied(lambda x, stride: every(x, stride)[:, :1]), ["(2, 4, 8, 8)", "(2, 1, 8, 8)"]),
    ("double", applied(lambda x, stride: every(x, stride).double()), ["of float32", "of float64"]),
    ("NumPy", applied(lambda x, stride: every(x, stride).numpy()), ["NumPy array (2, 4, 8, 8)"]),
    ("a pair", applied(lambda x, stride: (x, x)), ["a tuple of 2"]),
    ("nothing", applied(lambda x, stride: None), ["None (is a return missing?)"]),
    ("nan", applied(lambda x, stride: every(x, stride).log()), ["finite numbers", "nan at [0, "]),
    ("in place", lambda slot: nn.ReLU(inplace=True), ["changes its input", "inplace=True"]),
    ("wrong in evaluation", lambda slot: Counting(), ["evaluation mode", "(2, 1, 8, 8)"]),
    ("no module", lambda slot: torch.relu, ["torch.nn.Module", "the function relu"]),
    ("a class of modules", lambda slot: nn.ReLU, ["torch.nn.Module", "the class ReLU"]),
    ("no module at all", lambda slot: None, ["torch.nn.Module", "None"]),
    ("a module", nn.Conv2d(4, 4, 1), ["(slot)", "not a module"]),
    ("other arguments", lambda slot, more: nn.ReLU(), ["(slot)", "<lambda> cannot be called"]),
    ("three numbers, as before there were slots", lambda c, stride, affine: nn.ReLU(), ["one Slot", "slot.width"]),
    ("a text", "conv", ["(slot)", "'conv'"]),
]


@pytest.mark.parametrize(("factory", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_an_operation_that_breaks_its_word_is_refused_by_name(factory: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        try_out(factory)
    text = str(error.value)
    assert [word for word in ["operation 'own'", *words] if word not in text] == [], text


def test_an_operation_is_tried_with_the_maps_that_it_will_see() -> None:
    def halves(slot: Slot) -> nn.Module:
        return nn.AvgPool2d(slot.stride)  # which loses the last row of an odd map

    try_out(halves, (1, 8, 8))
    with pytest.raises(ValueError, match=r"\(2, 16, 4, 4\) .* stride 2.* \(2, 16, 3, 3\)"):
        try_out(halves, (1, 14, 14))


@pytest.mark.parametrize("op", ["none", "skip_connect", "max_pool_3x3", "noise", "sep_conv_5x5", "conv_7x1_1x7"])
def test_operations_of_ours_would_pass(op: str) -> None:
    try_out(OPS[op], (1, 9, 9))


def test_trying_and_counting_draw_no_random_number_and_run_an_operation_without_meta_tensors() -> None:
    def drawn(slot: Slot) -> nn.Module:
        scale = float(torch.rand(()))  # a number, which a tensor on "meta" has not
        return Applied(lambda x: every(x, slot.stride) * scale * float(x.sum().isfinite()))

    before = torch.get_rng_state()
    try_out(drawn)
    assert operation_macs(space_of(drawn), (1, 8, 8), channels=4, depth=3)[0] == [0, 0, 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_an_exception_of_an_operation_passes_as_it_is() -> None:
    def fails(x: Tensor, stride: int) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as error:
        try_out(applied(fails))
    assert error.traceback[-1].name == "fails"


def widened(slot: Slot) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(slot.width, 2 * slot.width, 3, slot.stride, 1), nn.BatchNorm2d(2 * slot.width)
    )


def test_search_evaluation_and_loading_all_try_own_operations(tmp_path: Any) -> None:
    words = r"operation 'own' .* must return a tensor \(2, 4, 8, 8\)"
    small = {"epochs": 1, "channels": 4, "depth": 3}
    with pytest.raises(ValueError, match=words):
        diffnas.search("digits", space=space_of(widened), train=40, out=tmp_path / "run", **small)
    with pytest.raises(ValueError, match=words):
        diffnas.cost("digits", space=space_of(widened), train=40, **small)
    cell = Cell(inputs=2, nodes=3, connections=(Connection("own", 0, 2),), output=(2,))
    found = Genotype(skeleton="darts", cells={"normal": cell, "reduce": cell})
    with pytest.raises(ValueError, match=words):
        diffnas.evaluate(found, "digits", out=tmp_path / "run", factories={"own": widened}, auxiliary=0.0, **small)
    assert list(tmp_path.iterdir()) == []
    pictures, labels = torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8) % 2
    given = {"data": ((pictures, labels), (pictures, labels)), "out": tmp_path / "run", "auxiliary": 0.0}
    diffnas.evaluate(found, factories={"own": OPS["sep_conv_3x3"]}, **given, **small)
    with pytest.raises(ValueError, match=words):
        diffnas.load(tmp_path / "run", factories={"own": widened})


def test_factories_of_operations_that_cells_do_not_have_are_not_tried() -> None:
    cell = Cell(inputs=2, nodes=3, connections=(Connection("skip_connect", 0, 2),), output=(2,))
    found = Genotype(skeleton="darts", cells={"normal": cell, "reduce": cell})
    sizes = sizes_of_genotype(found, 2, 1, channels=4, depth=3)
    own.try_parts(sizes, chosen(found), {"other": widened}, (1, 8, 8))


def test_building_one_operation_says_what_its_factory_must_make() -> None:
    with pytest.raises(ValueError, match=r"factory of operation 'own', <lambda> must return a torch\.nn\.Module"):
        build("own", Slot(width=4, affine=True), factories={"own": lambda slot: 3})


def test_a_supernet_refuses_weights_of_another_shape() -> None:
    from diffnas.nets.supernet import Supernet

    supernet = Supernet(replace(nas_bench_201, depth=5), classes=3, channels=4)
    with pytest.raises(ValueError, match=r"\(6, 5\), got \(6, 2\)"):
        supernet(torch.zeros(2, 3, 8, 8), torch.ones(6, 2))
