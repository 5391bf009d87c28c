"""Operations of transformers, against counts by formula and values from arithmetic."""

import math

import pytest
import torch
from torch import Tensor, nn

from diffnas.nets.ops import build, count_macs
from diffnas.nets.ops.attention import Attention, places
from diffnas.nets.ops.transformer import TRANSFORMER, Leveled, TokenNorm
from diffnas.nets.slot import Slot, Stream

EVERY = sorted(TRANSFORMER)


def slot(width: int, height: int = 4, columns: int = 0, *, affine: bool = False) -> Slot:
    return Slot(width=width, affine=affine, stream=Stream((height, columns or height), 8, "layer"))


def core(op: str, width: int, height: int = 4, columns: int = 0) -> nn.Module:
    """An operation without the norm that a supernet has after it."""
    built = build(op, slot(width, height, columns))
    assert isinstance(built, Leveled)
    return built.op.double()


def tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("width", [8, 96, 128])
@pytest.mark.parametrize("side", [2, 4, 8])
def test_every_operation_costs_what_its_formula_says(width: int, side: int) -> None:
    d, n, bias = width, side**2, (2 * side - 1) ** 2
    padded = max(side, 4) ** 2
    wanted = {
        "attn_2": (4 * d * d + 4 * d + 2 * bias, n * 4 * d * d + 2 * n * n * d),
        "attn_4": (4 * d * d + 4 * d + 4 * bias, n * 4 * d * d + 2 * n * n * d),
        "attn_half": (2 * d * d + 5 * d // 2 + 2 * bias, n * 2 * d * d + n * n * d),
        "window_4": (4 * d * d + 4 * d + 4 * 49, n * 4 * d * d + 32 * padded * d),
        "pool_3": (0, 0),
        "dwconv_5": (26 * d, 25 * d * n),
    }
    for k in (3, 7):
        wanted[f"sepconv_{k}"] = (4 * d * d + 2 * d * k * k + 5 * d, n * (4 * d * d + 2 * d * k * k))
    for r in (1, 2, 4):
        wanted[f"mlp_{r}"] = (2 * r * d * d + r * d + d, 2 * n * r * d * d)
    wanted["glu_2"] = (6 * d * d + 5 * d, 6 * n * d * d)
    for op, sizes in wanted.items():
        module = build(op, slot(d, side)).to("meta")
        assert (sum(each.numel() for each in module.parameters()), count_macs(module, (d, side, side))) == sizes, op


TABLE = {  # at 96 and 8 x 8, and at 192 and 14 x 14: parameters and ten thousands of multiply-adds
    "attn_4": (38_148, 315, 151_140, 4365),
    "attn_half": (19_122, 157, 75_666, 2183),
    "window_4": (37_444, 256, 148_420, None),  # 14 x 14 is padded to 16 x 16, which the table leaves out
    "sepconv_3": (39_072, 247, 151_872, 2958),
    "sepconv_7": (46_752, 296, 167_232, 3259),
    "mlp_1": (18_624, 118, 74_112, 1445),
    "mlp_4": (74_208, 472, 295_872, 5780),
    "glu_2": (55_776, 354, 222_144, 4335),
}


@pytest.mark.parametrize("op", TABLE)
def test_the_table_of_costs_is_that_of_the_method(op: str) -> None:
    for (width, side), (params, macs) in zip(((96, 8), (192, 14)), (TABLE[op][:2], TABLE[op][2:]), strict=True):
        module = build(op, slot(width, side)).to("meta")
        assert sum(each.numel() for each in module.parameters()) == params
        assert macs is None or round(count_macs(module, (width, side, side)) / 1e4) == macs


def _numbered(rows: int, columns: int, number: int) -> Tensor:
    """The transposed matrix ``number``, whose entries are sines."""
    index = torch.arange(rows * columns, dtype=torch.float64)
    return (0.5 * torch.sin(1 + index + 10 * number)).view(rows, columns).T.contiguous()


@torch.no_grad()
def golden(op: str, *matrices: tuple[int, int, int]) -> nn.Module:
    """An operation at width 4 on 2 x 2 tokens with the matrices of the golden numbers, and no biases."""
    module = core(op, 4, 2)
    for weight in module.parameters():
        weight.zero_()
    linears = [each for each in module.modules() if isinstance(each, nn.Linear)]
    for linear, matrix in zip(linears, matrices, strict=True):
        linear.weight.copy_(_numbered(*matrix))
    return module


GOLDEN = {
    "attn_2": (((4, 12, 1), (4, 4, 2)), (0.0082069, -0.0108286, -0.0199083, -0.0106844)),
    "pool_3": ((), (0.6276878, -0.7702540, -0.6776967, 0.8202630)),
    "mlp_2": (((4, 8, 3), (8, 4, 4)), (-0.1096836, -0.8204675, -0.7769174, -0.0190730)),
    "glu_2": (((4, 16, 5), (8, 4, 6)), (0.1452874, 0.1082368, -0.0283262, -0.1388462)),
}


def stream() -> Tensor:
    """Four tokens of width 4 whose numbers are sines, as a map of 2 x 2."""
    return torch.sin(torch.arange(16, dtype=torch.float64)).view(1, 2, 2, 4).permute(0, 3, 1, 2)


@pytest.mark.parametrize("op", GOLDEN)
def test_the_operations_give_the_golden_numbers(op: str) -> None:
    matrices, expected = GOLDEN[op]
    normed = TokenNorm(4, "layer", affine=False)(stream())
    assert golden(op, *matrices)(normed)[0, :, 0, 0].tolist() == pytest.approx(expected, abs=5e-8)


def test_a_mixed_branch_gives_the_golden_numbers() -> None:
    x, norm = stream(), TokenNorm(4, "layer", affine=False)
    attn, pool = (Leveled(golden(op, *GOLDEN[op][0]), 4) for op in ("attn_2", "pool_3"))
    out = x + 0.3 * attn(norm(x)) + 0.2 * pool(norm(x))
    assert out[0, :, 0, 0].tolist() == pytest.approx((0.3586964, 0.3841090, 0.2713273, 0.1240423), abs=5e-8)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_a_window_that_holds_the_whole_grid_is_full_attention(side: int) -> None:
    window, full = core("window_4", 8, side), core("attn_4", 8, side)
    assert isinstance(window, Attention)
    middle = window.bias.table.values.data[:, 4 - side : 3 + side, 4 - side : 3 + side]
    weights = {**window.state_dict(), "bias.table.values": middle}
    full.load_state_dict(weights)
    x = tokens(2, 8, side, side)
    torch.testing.assert_close(window(x), full(x))


def test_windows_do_not_see_each_other_nor_the_padding() -> None:
    window, x = core("window_4", 8, 7, 5), tokens(1, 8, 7, 5)
    before = window(x)
    x[:, :, 4:] = 9.0
    after = window(x)
    assert torch.equal(before[:, :, :4, :4], after[:, :, :4, :4])
    assert before.isfinite().all()
    alone = core("window_4", 8, 3, 1)
    alone.load_state_dict(window.state_dict())
    torch.testing.assert_close(alone(x[:, :, 4:, 4:]), after[:, :, 4:, 4:])


def test_attention_is_the_sum_that_its_formula_says() -> None:
    module, x = core("attn_2", 6, 2, 3), tokens(2, 6, 2, 3)
    assert isinstance(module, Attention)
    q, k, v = module.qkv(x.permute(0, 2, 3, 1)).view(2, 6, 3, 2, 3).unbind(2)
    logits = torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(3)
    for one in range(6):
        for other in range(6):
            down, right = one // 3 - other // 3 + 1, one % 3 - other % 3 + 2
            logits[:, :, one, other] += module.bias.table.values[:, down, right]
    mixed = torch.einsum("bhnm,bmhd->bnhd", logits.softmax(-1), v).reshape(2, 2, 3, 6)
    torch.testing.assert_close(module(x), module.last(mixed).permute(0, 3, 1, 2))


@pytest.mark.parametrize("op", ["attn_4", "window_4", "sepconv_3"])
def test_attention_without_a_bias_follows_a_permutation_of_the_tokens_and_a_convolution_does_not(op: str) -> None:
    module, x = core(op, 8), tokens(2, 8, 4, 4)
    if isinstance(module, Attention):
        module.bias.table.values.data.zero_()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))

    def permuted(each: Tensor) -> Tensor:
        return each.flatten(2)[:, :, order].view_as(each)

    same = torch.allclose(module(permuted(x)), permuted(module(x)))
    assert same == (op != "sepconv_3")


def test_attention_to_a_single_token_is_its_value() -> None:
    module, x = core("attn_4", 8, 1), tokens(3, 8, 1, 1)
    assert isinstance(module, Attention)
    value = module.qkv(x.flatten(1))[:, 16:]
    torch.testing.assert_close(module(x).flatten(1), module.last(value))


def test_pooling_of_a_constant_map_gives_zeros_also_after_the_norm() -> None:
    built = build("pool_3", slot(4, 5))
    assert not built(torch.full((1, 4, 5, 5), 3.0)).any()


@pytest.mark.parametrize("op", EVERY)
@pytest.mark.parametrize("affine", [True, False], ids=["network", "supernet"])
@pytest.mark.parametrize("grid", [(1, 1), (7, 5)], ids=str)
def test_every_operation_keeps_shape_format_and_input_for_a_single_picture(op: str, affine: bool, grid) -> None:
    module = build(op, slot(24, *grid, affine=affine)).train()
    x = tokens(1, 24, *grid).float().contiguous(memory_format=torch.channels_last)
    before = x.clone()
    out = module(x)
    assert out.shape == x.shape
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.isfinite().all()
    assert torch.equal(x, before)
    assert torch.equal(out, module.eval()(x))


@pytest.mark.parametrize("op", EVERY)
def test_infinite_tokens_do_not_give_finite_results(op: str) -> None:
    out = build(op, slot(24))(torch.full((1, 24, 4, 4), math.inf))
    assert not out.isfinite().all()


def test_an_operation_on_tokens_is_refused_elsewhere() -> None:
    with pytest.raises(ValueError, match="'attn_4' reads tokens, which only transformers have"):
        build("attn_4", Slot(width=8))


def test_relative_positions_are_numbered_by_rows_and_columns() -> None:
    assert places((2, 2)).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_a_table_is_interpolated_for_a_larger_grid() -> None:
    module = core("attn_4", 8, 4)
    out = module(tokens(1, 8, 6, 5))
    assert out.shape == (1, 8, 6, 5)
    assert out.isfinite().all()
