"""Residual chains: their operations and their frame, against sizes that were published and values from arithmetic."""

import pytest
import torch
from torch import Tensor, nn

from diffnas.genotype import HANDMADE, Genotype, handmade, parse, read, to_text
from diffnas.genotype.chain import of_layers
from diffnas.nets.frames.chain import shortcut
from diffnas.nets.frames.plan import CellPlan
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.ops import build, count_macs
from diffnas.nets.sized import Size, SizedSpace
from diffnas.nets.slot import Slot
from diffnas.nets.supernet import Supernet
from diffnas.skeleton import StemKind
from diffnas.space import SearchSpace, chain, chain_space


def size(genotype: Genotype, side: int, classes: int = 10, **built: object) -> tuple[int, int]:
    with torch.device("meta"):
        network = Network(genotype, classes=classes, **built)  # type: ignore[arg-type]
    return parameters_of(network), count_macs(network, (3, side, side))


@pytest.mark.parametrize(
    ("name", "side", "classes", "built", "parameters", "macs"),
    [
        ("RESNET20", 32, 10, {}, 272_474, 40_813_184),
        ("RESNET8", 32, 10, {}, 78_042, 12_501_632),
        ("RESNET8", 32, 10, {"channels": 26}, 204_292, 32_562_192),
        ("RESNET18", 224, 1000, {"stem": "resnet"}, 11_689_512, 1_814_073_344),
        ("MOBILENET_V2", 224, 1000, {"stem": "cifar-half"}, 3_504_872, 300_774_272),
        ("MOBILENET_V2_CIFAR", 32, 10, {}, 2_236_682, 87_976_448),
        ("MOBILENET_V2_CIFAR_HALF", 32, 10, {}, 700_490, 27_969_024),
        ("CONVNEXT_ATTO", 224, 1000, {"stem": "patch"}, 3_686_280, 547_332_480),
        ("CONVNEXT_FEMTO", 224, 1000, {"stem": "patch"}, 5_206_696, 779_629_824),
    ],
)
def test_a_hand_made_network_has_the_size_that_was_published(
    name: str, side: int, classes: int, built: dict[str, object], parameters: int, macs: int
) -> None:
    assert size(handmade(name), side, classes, **built) == (parameters, macs)


@pytest.mark.parametrize(
    ("op", "macs", "parameters"),
    [
        ("none", 314_304, 7_906),
        ("res_3", 20_220_864, 600_802),
        ("mb_3_3", 7_592_640, 195_850),
        ("next_7", 9_443_520, 257_770),
    ],
)
def test_a_chain_of_one_operation_costs_what_arithmetic_says(op: str, macs: int, parameters: int) -> None:
    assert size(of_layers("chain", [op] * 8), 32, stem="cifar-half") == (parameters, macs)


@pytest.mark.parametrize(
    ("stem", "width", "low", "high", "even", "parameters", "supernet"),
    [
        ("cifar-half", 4, 0.03, 0.65, 0.40, 10, 1.9),
        ("cifar-half", 10, 0.10, 3.55, 2.01, 54, 9.7),
        ("cifar-half", 16, 0.18, 9.02, 4.84, 132, 23.5),
        ("cifar-half", 24, 0.31, 20.2, 10.5, 289, 51.2),
        ("cifar", 12, 0.48, 20.4, 11.3, 76, 54.4),
        ("cifar", 16, 0.71, 36.1, 19.3, 132, 93.9),
    ],
)
def test_a_width_costs_what_the_table_of_targets_says(
    stem: StemKind, width: int, low: float, high: float, even: float, parameters: int, supernet: float
) -> None:
    space = chain_space(none_at_transitions=True)
    sized = SizedSpace(space=space, picture=(3, 32, 32), classes=10, size=Size(width, 8, stem))
    macs, params = sized.additive("macs"), sized.additive("params")
    found = (
        macs.base + float(macs.ops.amin(dim=1).sum()),
        macs.base + float(macs.ops.amax(dim=1).sum()),
        macs.base + float(macs.ops.mean(dim=1).sum()),
        macs.base + float(macs.ops.sum()),
    )
    assert [each / 1e6 for each in found[:3]] == pytest.approx([low, high, even], rel=5e-3, abs=6e-3)
    assert round(found[3] / 1e6, 1) == supernet
    assert (params.base + float(params.ops.mean(dim=1).sum())) / 1e3 == pytest.approx(parameters, abs=0.6)


@pytest.mark.parametrize("width", [4, 16, 24])
@pytest.mark.parametrize("side", [1, 3, 4, 16])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_operation_costs_what_its_formula_says(width: int, side: int, stride: int) -> None:
    i, o, before, after = width, width * stride, side**2, (-(-side // stride)) ** 2
    wanted = {
        "res_3": (9 * i * o + 9 * o * o + 4 * o, after * (9 * i * o + 9 * o * o)),
        "mb_3_1": (9 * i + i * o + 2 * i + 2 * o, after * (9 * i + i * o)),
        "next_7": (49 * i + 4 * i * i + 4 * i * o + 2 * i + 2 * o, after * (49 * i + 4 * i * i + 4 * i * o)),
    }
    for k, e in ((3, 3), (5, 3), (3, 6)):
        inner = k * k * e * i + e * i * o
        wanted[f"mb_{k}_{e}"] = (e * i * i + inner + 4 * e * i + 2 * o, before * e * i * i + after * inner)
    for op, sizes in wanted.items():
        module = build(op, Slot(width=i, out=o, stride=stride, affine=True)).to("meta")
        assert (sum(each.numel() for each in module.parameters()), count_macs(module, (i, side, side))) == sizes, op


def _with_weights(module: nn.Module, *numbers: int) -> nn.Module:
    module = module.double().train()
    convolutions = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
    for conv, number in zip(convolutions, numbers, strict=True):
        index = torch.arange(conv.weight.numel(), dtype=torch.float64)
        conv.weight.data = (0.5 * torch.sin(1 + index + 10 * number)).view_as(conv.weight)
    return module


def test_the_operations_give_the_golden_numbers() -> None:
    x = torch.sin(torch.arange(32, dtype=torch.float64)).view(1, 2, 4, 4)
    keep = Slot(width=2)
    given = {
        "res_3": (_with_weights(build("res_3", keep), 1, 2), (0.5203844, 1.1414320, 0.1439107, -0.3869699)),
        "mb_3_3": (_with_weights(build("mb_3_3", keep), 3, 4, 5), (0.0408061, -0.3620746, -0.2845669, 0.4444226)),
        "next_7": (_with_weights(build("next_7", keep), 6, 7, 8), (-0.2124881, 0.7700673, 0.3185224, 0.8807446)),
    }
    for module, numbers in given.values():
        torch.testing.assert_close(module(x)[0, 0, 0], torch.tensor(numbers, dtype=torch.float64), atol=1e-6, rtol=0)
    mixed = x + 0.3 * given["res_3"][0](x) + 0.2 * given["mb_3_3"][0](x)
    row = torch.tensor((0.1642765, 1.1114857, 0.8955573, 0.1139136), dtype=torch.float64)
    torch.testing.assert_close(mixed[0, 0, 0], row, atol=1e-6, rtol=0)
    wider = _with_weights(build("res_3", Slot(width=2, out=4, stride=2)), 1, 2)
    column = torch.tensor((1.2968835, -0.2831551, -1.3932911, 0.5780693), dtype=torch.float64)
    torch.testing.assert_close(wider(x)[0, :, 0, 0], column, atol=1e-6, rtol=0)
    plan = CellPlan(index=1, kind="cell1", reduces=True, after_reduction=False, channels=4, before=2, previous=2, out=4)
    beside = _with_weights(shortcut("pool", plan, affine=False), 9)
    column = torch.tensor((-1.1391467, 1.5337074, 0.1940871, -1.2472967), dtype=torch.float64)
    torch.testing.assert_close(beside(x)[0, :, 0, 0], column, atol=1e-6, rtol=0)


def one_hot(space: SearchSpace, ops: list[str]) -> Tensor:
    return torch.eye(len(space.ops), dtype=torch.float64)[[space.ops.index(op) for op in ops]]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ops", [["none", "mb_3_3", "next_7", "res_3"], ["none"] * 4], ids=["some", "none"])
def test_a_supernet_with_one_operation_a_layer_computes_what_the_network_does(ops: list[str], training: bool) -> None:
    space = chain_space((1, 2, 1), none_at_transitions=True)
    torch.manual_seed(0)
    supernet = Supernet(space, classes=3, channels=4).double().train(training)
    network = Network(of_layers(space.skeleton, ops), classes=3, channels=4).double().train(training)
    known, wanted = supernet.state_dict(), network.state_dict()
    for name in wanted:
        cell = name.split(".")[2] if name.startswith("frame.cells.") else ""
        own = name.replace(".op.", f".ops.{space.ops.index(ops[int(cell)])}.") if cell else name
        if own in known:  # the others are weights and biases of batch norms, (1, 0)
            wanted[name] = known[own]
    network.load_state_dict(wanted)
    x = torch.randn(5, 3, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(network(x).logits, supernet(x, one_hot(space, ops)), atol=1e-6, rtol=0)


def test_removing_operations_changes_nothing_for_the_others() -> None:
    torch.manual_seed(0)
    supernet, x = Supernet(chain, classes=3, channels=4), torch.randn(4, 3, 8, 8)
    keep = torch.tensor(chain.offered)
    keep[:, chain.ops.index("mb_3_6")] = False
    mix = torch.rand(keep.shape) * keep
    before = supernet(x, mix)
    supernet.prune_(keep)
    assert torch.equal(supernet(x, mix), before)


def test_the_last_batch_norm_takes_away_how_large_an_operation_is() -> None:
    torch.manual_seed(0)
    supernet, x = Supernet(chain, classes=3, channels=4).double(), torch.randn(4, 3, 8, 8).double()
    mix = torch.rand(8, 5, dtype=torch.float64)
    before = supernet(x, mix)
    last = supernet.frame.get_submodule("cells.1.edges.0.ops.2.6")
    assert isinstance(last, nn.Conv2d)
    last.weight.data *= 100
    torch.testing.assert_close(supernet(x, mix), before, atol=1e-4, rtol=0)


@pytest.mark.parametrize("beside", ["pool", "conv", "patch"])
@pytest.mark.parametrize("side", [1, 7])
def test_odd_pictures_and_a_single_one_go_through(beside: str, side: int) -> None:
    genotype = of_layers(f"chain:1-1-1:{beside}", ["res_3", "none", "mb_3_3"])
    assert Network(genotype, classes=2, channels=4).eval()(torch.zeros(1, 3, side, side)).logits.isfinite().all()


@pytest.mark.parametrize("name", HANDMADE)
def test_a_hand_made_network_has_a_text_and_no_problems(name: str) -> None:
    assert parse(to_text(read(name))) == read(name)
    assert read(name).problems() == ()


def test_a_chain_of_nothing_and_a_shallow_one_are_told() -> None:
    assert "nothing is left" in of_layers("chain", ["none"] * 8).problems()[0]
    assert "shallower than a ResNet-8" in of_layers("chain", ["res_3"] * 2 + ["none"] * 6).problems()[0]


@pytest.mark.parametrize("text", ["chain | res_3", "chain:x | res_3", "darts-chain | res_3", "chain:1-1-1|a b|c|d"])
def test_a_text_that_is_no_chain_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_absence_is_offered_where_the_shortcut_is_the_identity() -> None:
    assert [("none" in graph.ops[0]) for graph in chain.cells.values()] == [
        True,
        True,
        False,
        True,
        True,
        False,
        True,
        True,
    ]
