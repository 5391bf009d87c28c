"""Operations on a line of tokens: counts, causality, padding, and the same operations on a grid."""

import pytest
import torch
from torch import Tensor, nn

from diffnas.nets.ops import build, count_macs
from diffnas.nets.ops.attention import Attention
from diffnas.nets.ops.transformer import MIXERS, TRANSFORMER, Branch, Leveled
from diffnas.nets.slot import Form, Slot, Stream

EVERY = sorted(TRANSFORMER)
LOCAL = [op for op in EVERY if not op.startswith(("mlp", "glu"))]


def slot(width: int, count: int, form: Form, *, affine: bool = False) -> Slot:
    return Slot(width=width, affine=affine, stream=Stream((1, count), 8, "layer", form))


def core(op: str, count: int, form: Form, *, width: int = 24) -> nn.Module:
    """An operation without the norms around it."""
    built = build(op, slot(width, count, form))
    assert isinstance(built, Leveled)
    return built.op.double()


def tokens(batch: int, count: int, *, width: int = 24) -> Tensor:
    drawn = torch.randn(batch, 1, count, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.permute(0, 3, 1, 2)


@pytest.mark.parametrize("form", ["line", "past"])
@pytest.mark.parametrize(("width", "count"), [(8, 1), (8, 20), (96, 64)])
def test_every_operation_on_a_line_costs_what_its_formula_says(form: Form, width: int, count: int) -> None:
    d, n, sides = width, count, 2 if form == "line" else 1
    bias, inside = 1 + sides * min(n - 1, 32), 1 + sides * 15
    padded = -(-n // 16) * 16
    wanted = {
        "attn_2": (4 * d * d + 4 * d + 2 * bias, n * 4 * d * d + 2 * n * n * d),
        "attn_4": (4 * d * d + 4 * d + 4 * bias, n * 4 * d * d + 2 * n * n * d),
        "attn_half": (2 * d * d + 5 * d // 2 + 2 * bias, n * 2 * d * d + n * n * d),
        "window_4": (4 * d * d + 4 * d + 4 * inside, n * 4 * d * d + 32 * padded * d),
        "pool_3": (0, 0),
        "dwconv_5": (6 * d, 5 * d * n),
        "mlp_4": (8 * d * d + 5 * d, 8 * n * d * d),
        "glu_2": (6 * d * d + 5 * d, 6 * n * d * d),
    }
    for k in (3, 7):
        wanted[f"sepconv_{k}"] = (4 * d * d + 2 * d * k + 5 * d, n * (4 * d * d + 2 * d * k))
    for op, sizes in wanted.items():
        module = build(op, slot(d, n, form)).to("meta")
        assert (sum(each.numel() for each in module.parameters()), count_macs(module, (d, 1, n))) == sizes, op


@pytest.mark.parametrize("affine", [True, False], ids=["network", "supernet"])
@pytest.mark.parametrize("op", EVERY)
def test_no_operation_reads_a_later_token_where_the_next_one_is_predicted(op: str, affine: bool) -> None:
    module, x = build(op, slot(24, 40, "past", affine=affine)).double(), tokens(2, 40)
    before = module(x)
    for last in (0, 14, 15, 16, 38):  # around the end of a window of 16 too
        changed = x.clone()
        changed[..., last + 1 :] = 9.0
        after = module(changed)
        assert torch.equal(before[..., : last + 1], after[..., : last + 1])
        assert not torch.equal(before, after)
    assert before.isfinite().all()


@pytest.mark.parametrize("op", LOCAL)
def test_an_operation_that_labels_reads_tokens_on_both_sides(op: str) -> None:
    module, x = core(op, 16, "line"), tokens(1, 16)
    for changed in (7, 9):
        other = x.clone()
        other[..., changed] = 9.0
        assert not torch.equal(module(x)[..., 8], module(other)[..., 8])


def _on_a_grid(line: nn.Module, op: str) -> nn.Module:
    """The operation ``op`` on a grid of one row, with the weights of one on a line in its middle row, from the left."""
    built = build(op, Slot(width=24, stream=Stream((1, 20), 8, "layer")))
    assert isinstance(built, Leveled)
    grid, weights = built.op.double(), line.state_dict()
    for name, wide in grid.state_dict().items():
        if name.endswith("conv.weight"):
            mine, weights[name] = weights[name], torch.zeros_like(wide)
            weights[name][:, :, wide.shape[2] // 2, : mine.shape[3]] = mine[:, :, 0]
    grid.load_state_dict(weights)
    return grid


@pytest.mark.parametrize("op", ["attn_4", "attn_half", "sepconv_3", "sepconv_7", "dwconv_5", "pool_3", "pool_5"])
def test_on_a_line_an_operation_is_that_on_a_grid_of_one_row(op: str) -> None:
    line, x = core(op, 20, "line"), tokens(2, 20)
    torch.testing.assert_close(line(x), _on_a_grid(line, op)(x))


@pytest.mark.parametrize("op", ["sepconv_3", "dwconv_3"])
def test_a_convolution_of_the_past_is_one_on_a_grid_without_weights_for_what_comes_later(op: str) -> None:
    line, x = core(op, 20, "past"), tokens(2, 20)
    torch.testing.assert_close(line(x), _on_a_grid(line, op.replace("3", "5"))(x))


def test_attention_to_the_past_is_the_sum_that_its_formula_says() -> None:
    module, x = core("attn_2", 40, "past"), tokens(2, 40)
    assert isinstance(module, Attention)
    q, k, v = module.qkv(x[:, :, 0].mT).view(2, 40, 3, 2, 12).unbind(2)
    mixed = torch.zeros(2, 40, 2, 12, dtype=torch.float64)
    for one in range(40):
        apart = one - torch.arange(one + 1)
        bias = module.bias.table.values[:, 0, apart.clamp_max(32)]
        logits = torch.einsum("bhd,bmhd->bhm", q[:, one], k[:, : one + 1]) / 12**0.5 + bias
        mixed[:, one] = torch.einsum("bhm,bmhd->bhd", logits.softmax(-1), v[:, : one + 1])
    torch.testing.assert_close(module(x)[:, :, 0].mT, module.last(mixed.flatten(2)))


@pytest.mark.parametrize("form", ["line", "past"])
def test_a_window_on_a_line_has_sixteen_tokens_and_is_attention_within_them(form: Form) -> None:
    window, full = core("window_4", 20, form), core("attn_4", 16, form)
    full.load_state_dict(window.state_dict())
    x = tokens(2, 20)
    torch.testing.assert_close(window(x)[..., :16], full(x[..., :16]))
    torch.testing.assert_close(window(x)[..., 16:], full(x[..., 16:]))


def test_pooling_of_the_past_is_the_mean_of_the_last_tokens_minus_the_token() -> None:
    x = tokens(1, 5)
    out = core("pool_3", 5, "past")(x)
    for step in range(5):
        torch.testing.assert_close(out[..., step], x[..., max(0, step - 2) : step + 1].mean(-1) - x[..., step])


@pytest.mark.parametrize("real", [1, 5, 16, 21])
@pytest.mark.parametrize("op", LOCAL)
def test_padding_does_not_change_the_tokens_before_it(op: str, real: int) -> None:
    module, x = core(op, 40, "line"), tokens(2, 40)
    for part in module.modules():
        if isinstance(part, MIXERS):
            part.ends.real = (torch.arange(40) < torch.tensor([[real], [40]])).view(2, 1, 1, 40)
    padded = module(x)
    for part in module.modules():
        if isinstance(part, MIXERS):
            part.ends.real = None
    torch.testing.assert_close(padded[:1, ..., :real], module(x[:1, ..., :real]))
    torch.testing.assert_close(padded[1:], module(x[1:]))
    assert padded.isfinite().all()


@pytest.mark.parametrize("form", ["line", "past"])
@pytest.mark.parametrize("op", EVERY)
def test_every_operation_keeps_shape_and_format_of_a_single_token(op: str, form: Form) -> None:
    module = build(op, slot(24, 1, form, affine=True))
    assert isinstance(module, Branch)
    x = tokens(1, 1).float()
    out = module(x)
    assert out.shape == x.shape
    assert out.isfinite().all()


def test_a_shorter_line_has_the_biases_of_the_same_distances() -> None:
    module, x = core("attn_4", 40, "past"), tokens(1, 40)
    torch.testing.assert_close(module(x)[..., :10], module(x[..., :10]))
