import decimal
import math
from decimal import Decimal

import entmax as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffnas.components.entmax import entmax, support

ORDERS = [1.0, 1.3, 1.5, 2.0, 2.5, 3.0, 4.0]
SPARSE_ORDERS = ORDERS[1:]

Z1 = [0.30, 0.25, 0.20, 0.10, 0.0, -0.05, -0.10, -0.20]
Z2 = [0.004, 0.003, 0.001, 0.0, -0.001, -0.002, -0.004, -0.006]
Z3 = [0.12, 0.10, 0.02, 0.0, -0.05]

# alpha, order, weights, gradient for the upstream gradient (1, 2, .., n), and their printed precision
GOLDEN = [
    (
        Z1,
        1.5,
        [0.213696, 0.191207, 0.169969, 0.131241, 0.097514, 0.082526, 0.068787, 0.045060],
        [-1.36143, -0.85053, -0.38963, 0.01989, 0.32942, 0.59032, 0.80122, 0.86075],
        1e-5,
    ),
    (Z1, 2.0, [0.33, 0.28, 0.23, 0.13, 0.03, 0, 0, 0], [-2, -1, 0, 1, 2, 0, 0, 0], 1e-12),
    (Z1, 2.5, [0.418531, 0.337149, 0.244320] + [0] * 5, [-1.68520, -0.15538, 1.84058] + [0] * 5, 1e-5),
    (Z1, 3.0, [0.476994, 0.357104, 0.165902] + [0] * 5, [-2.85088, -1.00770, 3.85858] + [0] * 5, 1e-5),
    (
        Z2,
        3.0,
        [0.159943, 0.153563, 0.139935, 0.132596, 0.124827, 0.116540, 0.097886, 0.074711],
        [-25.2667, -19.8044, -14.5870, -7.8526, -0.3303, 8.2270, 20.0108, 39.6032],
        1e-4,
    ),
    (Z3, 3.0, [0.462925, 0.417492, 0.119582, 0, 0], [-3.19734, -1.15004, 4.34738, 0, 0], 1e-5),
]

# order, the gap at which one winner takes all, and the gap at which one loser below k - 1 ties dies, k = 8 .. 2
THRESHOLDS = [
    (1.5, "2.000", ["0.756", "0.816", "0.894", "1.000", "1.155", "1.414", "2.000"]),
    (2.0, "1.000", ["0.1429", "0.1667", "0.2000", "0.2500", "0.3333", "0.5000", "1.0000"]),
    (2.5, "0.667", ["0.0360", "0.0454", "0.0596", "0.0833", "0.1283", "0.2357", "0.6667"]),
    (3.0, "0.500", ["0.01020", "0.01389", "0.02000", "0.03125", "0.05556", "0.1250", "0.5000"]),
    (4.0, "0.333", ["0.00097", "0.00154", "0.00267", "0.00521", "0.01235", "0.0417", "0.3333"]),
]


def all_kept(alpha: Tensor) -> Tensor:
    return torch.ones_like(alpha, dtype=torch.bool)


def random_rows(rows: int, ops: int, scale: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, ops, dtype=torch.float64, generator=generator)


def rows_of_every_scale(rows: int, ops: int = 8) -> Tensor:
    return torch.cat([random_rows(rows, ops, scale) for scale in (1e-3, 1e-2, 0.1, 1.0, 5.0)])


def weights_and_gradient(alpha: Tensor, keep: Tensor, order: float, grad: Tensor) -> tuple[Tensor, Tensor]:
    alpha = alpha.detach().clone().requires_grad_()
    mix = entmax(alpha, keep, order)
    (alpha_grad,) = torch.autograd.grad(mix, alpha, grad)
    return mix.detach(), alpha_grad


def bisected(alpha: Tensor, order: float) -> Tensor:
    """Entmax by halving the bracket of the threshold, in float64: slow and obvious."""
    m = order - 1
    scaled = m * alpha.double()
    high = scaled.amax(dim=1, keepdim=True)
    low = high - 1
    for _ in range(100):
        middle = (low + high) / 2
        too_much = (scaled - middle).clamp(min=0).pow(1 / m).sum(dim=1, keepdim=True) >= 1
        low, high = torch.where(too_much, middle, low), torch.where(too_much, high, middle)
    mix = (scaled - low).clamp(min=0).pow(1 / m)
    return mix / mix.sum(dim=1, keepdim=True)


def decimal_support(row: list[float], order: float) -> list[bool]:
    """Where the weight is positive, by halving in 40 digits."""
    with decimal.localcontext() as context:
        context.prec = 40
        m = Decimal(order) - 1
        scaled = [m * Decimal(value) for value in row]
        low, high = max(scaled) - 1, max(scaled)
        while high - low > Decimal("1e-30"):
            middle = (low + high) / 2
            total = sum((value - middle) ** (1 / m) for value in scaled if value > middle)
            low, high = (middle, high) if total >= 1 else (low, middle)
        return [value > high for value in scaled]


@pytest.mark.parametrize(("row", "order", "weights", "gradient", "digit"), GOLDEN)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_golden_weights_and_gradients_hold_to_the_printed_digits(row, order, weights, gradient, digit, dtype):
    alpha = torch.tensor([row], dtype=dtype)
    upstream = torch.arange(1, len(row) + 1, dtype=dtype)[None]
    mix, grad = weights_and_gradient(alpha, all_kept(alpha), order, upstream)
    assert mix.dtype == grad.dtype == dtype
    # In float32 the data themselves are rounded, and the gradient multiplies that by up to 64.
    loose = 0 if dtype == torch.float64 else 1e-5
    weight_digit = min(digit, 1e-6)
    torch.testing.assert_close(mix, mix.new_tensor([weights]), rtol=0, atol=0.51 * weight_digit + loose)
    torch.testing.assert_close(grad, grad.new_tensor([gradient]), rtol=loose, atol=0.51 * digit + loose)
    assert torch.equal(mix == 0, mix.new_tensor([weights]) == 0)


@pytest.mark.parametrize(
    ("order", "weights"),
    [(1, [0.0486, 0.3592, 0.5922]), (1.5, [0, 0.3260, 0.6740]), (2, [0, 0.25, 0.75])],
)
def test_the_published_example_comes_out(order, weights):
    alpha = torch.tensor([[-2.0, 0.0, 0.5]])
    torch.testing.assert_close(entmax(alpha, all_kept(alpha), order), torch.tensor([weights]), rtol=0, atol=5.1e-5)


@pytest.mark.parametrize("order", [1.02, *SPARSE_ORDERS])
def test_weights_agree_with_bisection(order):
    alpha = rows_of_every_scale(300)
    # Bisection knows its threshold to 1e-15, which becomes 1e-15^(1/m) at a weight near zero.
    tolerance = 10 * 1e-15 ** (1 / max(1.0, order - 1))
    torch.testing.assert_close(entmax(alpha, all_kept(alpha), order), bisected(alpha, order), rtol=0, atol=tolerance)


ORACLES = [
    (1.3, lambda alpha: oracle.entmax_bisect(alpha, alpha=1.3), 1e-11),
    (1.5, oracle.entmax15, 1e-11),
    (2.0, oracle.sparsemax, 1e-11),
    (2.5, lambda alpha: oracle.entmax_bisect(alpha, alpha=2.5), 1e-9),
    # The oracle bisects its threshold to about 1e-15; weights near zero turn that into its root.
    (3.0, lambda alpha: oracle.entmax_bisect(alpha, alpha=3.0), 1e-6),
    (4.0, lambda alpha: oracle.entmax_bisect(alpha, alpha=4.0), 1e-4),
]


@pytest.mark.parametrize(("order", "theirs", "tolerance"), ORACLES)
def test_weights_agree_with_the_entmax_package(order, theirs, tolerance):
    alpha = rows_of_every_scale(200)
    torch.testing.assert_close(entmax(alpha, all_kept(alpha), order), theirs(alpha), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("order", "theirs", "tolerance"), ORACLES)
def test_gradients_agree_with_the_entmax_package_away_from_zero_weights(order, theirs, tolerance):
    alpha = random_rows(400, 8, scale=0.05)
    grad = random_rows(400, 8, scale=1.0, seed=1)
    mix, ours = weights_and_gradient(alpha, all_kept(alpha), order, grad)
    alpha.requires_grad_()
    (expected,) = torch.autograd.grad(theirs(alpha), alpha, grad)
    clear = ((mix == 0) | (mix > 1e-2)).all(dim=1)
    assert clear.sum() > 50
    torch.testing.assert_close(ours[clear], expected[clear], rtol=100 * tolerance, atol=100 * tolerance)


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_of_first_and_second_order_match_finite_differences(order):
    alpha = torch.tensor([[0.05, 0.03, -0.06, 0.01], [0.9, 0.2, -1.5, 0.0]], dtype=torch.float64)
    keep = torch.tensor([[True] * 4, [True, True, True, False]])
    alpha.requires_grad_()
    assert torch.autograd.gradcheck(lambda alpha: entmax(alpha, keep, order), alpha)
    assert torch.autograd.gradgradcheck(lambda alpha: entmax(alpha, keep, order), alpha)


def dense_jacobian(alpha: Tensor, order: float) -> Tensor:
    """``diag(s) - s s' / sum(s)`` with ``s = p^(2 - order)`` at the bisected weights of one row, ``(ops, ops)``."""
    mix = bisected(alpha, order)[0]
    s = torch.where(mix > 0, mix.pow(2 - order), 0)
    return s.diag() - s.outer(s) / s.sum()


@pytest.mark.parametrize("order", SPARSE_ORDERS)
@pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd])
def test_the_jacobians_of_torch_func_are_the_dense_one(transform, order):
    alpha = random_rows(1, 6, scale=0.2)
    found = transform(lambda row: entmax(row[None], all_kept(alpha), order)[0])(alpha[0])
    torch.testing.assert_close(found, dense_jacobian(alpha, order), rtol=1e-6, atol=1e-8)
    assert entmax(alpha, all_kept(alpha), 4.0).count_nonzero() < 6


@pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd])
def test_the_jacobians_of_torch_func_know_a_learned_order(transform):
    alpha, order = random_rows(3, 5, scale=0.2), torch.tensor([[1.0], [1.7], [3.0]], dtype=torch.float64)
    found = transform(lambda order: entmax(alpha, all_kept(alpha), order))(order)
    expected = torch.autograd.functional.jacobian(lambda order: entmax(alpha, all_kept(alpha), order), order)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("order", ORDERS)
def test_the_hessian_of_torch_func_is_that_of_autograd(order):
    alpha, grad = random_rows(2, 4, scale=0.1), random_rows(2, 4, scale=1.0, seed=1)

    def score(alpha: Tensor) -> Tensor:
        return (entmax(alpha, all_kept(alpha), order) * grad).sum()

    torch.testing.assert_close(torch.func.grad(score)(alpha), torch.autograd.functional.jacobian(score, alpha))
    torch.testing.assert_close(torch.func.hessian(score)(alpha), torch.autograd.functional.hessian(score, alpha))


@pytest.mark.parametrize("batched", ["alpha", "keep", "order", "alpha keep", "alpha keep order"])
@pytest.mark.parametrize("function", [entmax, support, "gradient"])
def test_vmap_over_tables_is_one_table_after_the_other(function, batched):
    def gradient(alpha: Tensor, keep: Tensor, order: Tensor) -> Tensor:
        return torch.func.grad(lambda alpha: entmax(alpha, keep, order).square().sum())(alpha)

    run = gradient if function == "gradient" else function
    tables = {
        "alpha": random_rows(4 * 3, 5, scale=0.2).view(4, 3, 5),
        "keep": random_rows(4 * 3, 5, scale=1.0, seed=1).view(4, 3, 5) > -1,
        "order": torch.tensor([1.0, 1.5, 2.0, 3.0], dtype=torch.float64).view(4, 1, 1).expand(4, 3, 1),
    }
    given = {name: table if name in batched.split() else table[1] for name, table in tables.items()}
    dims = tuple(0 if name in batched.split() else None for name in tables)
    found = torch.func.vmap(run, in_dims=dims)(*given.values())
    for member in range(4):
        alone = (table[member] if dim == 0 else table for table, dim in zip(given.values(), dims, strict=True))
        torch.testing.assert_close(found[member], run(*alone))


@pytest.mark.parametrize("order", [1.02, *SPARSE_ORDERS])
@pytest.mark.parametrize("shape", [(), (2, 1)])
def test_the_gradient_for_a_learned_order_matches_finite_differences(order, shape):
    alpha = torch.tensor([[0.05, 0.03, -0.06, 0.01], [0.9, 0.2, -1.5, 0.0]], dtype=torch.float64)
    learned = torch.full(shape, order, dtype=torch.float64, requires_grad=True)
    keep = torch.tensor([[True] * 4, [True, True, True, False]])
    alpha.requires_grad_()
    assert torch.autograd.gradcheck(lambda alpha, order: entmax(alpha, keep, order), (alpha, learned))
    assert torch.autograd.gradgradcheck(lambda alpha, order: entmax(alpha, keep, order), (alpha, learned))


@pytest.mark.parametrize("order", [0.9, 1.0, 1.005])
def test_near_order_one_the_order_keeps_the_gradient_of_the_limit(order):
    alpha = random_rows(20, 8, scale=1.0)
    grad = random_rows(20, 8, scale=1.0, seed=1)
    learned = torch.full((20, 1), order, dtype=torch.float64, requires_grad=True)
    (order_grad,) = torch.autograd.grad(entmax(alpha, all_kept(alpha), learned), learned, grad)
    step = 1e-5
    slope = (bisected(alpha, 1 + step) - alpha.softmax(dim=1)) / step
    torch.testing.assert_close(order_grad, (grad * slope).sum(dim=1, keepdim=True), rtol=0, atol=1e-3)
    assert order_grad.abs().max() > 0.1


@pytest.mark.parametrize("order", [1.0, 1.0101, 1.05, 1.5, 2.0])
def test_the_order_gradient_survives_float32(order):
    grad = random_rows(200, 8, scale=1.0, seed=1)
    results = []
    for dtype in (torch.float32, torch.float64):
        alpha = random_rows(200, 8, scale=0.1).float().to(dtype)
        learned = torch.tensor(order, dtype=torch.float32).to(dtype).requires_grad_()
        mix = entmax(alpha, all_kept(alpha), learned)
        results.append(torch.autograd.grad(mix, learned, grad.to(dtype))[0].double())
    torch.testing.assert_close(results[0], results[1], rtol=2e-5, atol=0)


def test_every_row_may_have_an_order_of_its_own():
    alpha = random_rows(len(ORDERS), 8, scale=0.3)
    grad = random_rows(len(ORDERS), 8, scale=1.0, seed=1)
    keep = all_kept(alpha).index_fill(1, torch.tensor([3]), False)
    order = torch.tensor(ORDERS, dtype=torch.float64)[:, None].requires_grad_()
    alpha.requires_grad_()
    mix = entmax(alpha, keep, order)
    alpha_grad, order_grad = torch.autograd.grad(mix, (alpha, order), grad)
    assert order_grad.isfinite().all()
    assert (order_grad != 0).any()
    for row, value in enumerate(ORDERS):
        one = slice(row, row + 1)
        alone, alone_grad = weights_and_gradient(alpha[one], keep[one], value, grad[one])
        torch.testing.assert_close(mix[one], alone)
        torch.testing.assert_close(alpha_grad[one], alone_grad)
        assert torch.equal(support(alpha, keep, order)[one], support(alpha[one], keep[one], value))


def test_a_shared_order_tensor_gets_one_gradient_summed_over_the_rows():
    alpha = random_rows(6, 5, scale=0.2)
    grad = random_rows(6, 5, scale=1.0, seed=1)
    shared = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    per_row = torch.full((6, 1), 2.5, dtype=torch.float64, requires_grad=True)
    (shared_grad,) = torch.autograd.grad(entmax(alpha, all_kept(alpha), shared), shared, grad)
    (row_grads,) = torch.autograd.grad(entmax(alpha, all_kept(alpha), per_row), per_row, grad)
    torch.testing.assert_close(shared_grad, row_grads.sum())


@pytest.mark.parametrize("order", [1, 1.0, 1.004, 1.0099])
def test_orders_up_to_one_hundredth_above_one_are_softmax(order):
    alpha = random_rows(10, 5, scale=1.0)
    torch.testing.assert_close(entmax(alpha, all_kept(alpha), order), alpha.softmax(dim=1))
    assert support(alpha, all_kept(alpha), order).all()


def test_the_step_from_softmax_to_entmax_is_small():
    alpha = random_rows(200, 8, scale=1.0)
    before, after = (entmax(alpha, all_kept(alpha), order) for order in (1.00999, 1.01001))
    assert (before - after).abs().max() < 1e-2


# Binary fractions, so that adding an integer changes no difference between entries.
rows_on_a_grid = st.lists(st.integers(-64, 64), min_size=1, max_size=9).map(
    lambda numbers: torch.tensor([numbers], dtype=torch.float64) / 16
)
orders = st.sampled_from(ORDERS)
scales = st.sampled_from([2.0**-8, 2.0**-4, 1.0])
# A weight is known to the rounding of the sum that it completes, whatever the order.
CLOSE = {"rtol": 0, "atol": 1e-12}


@settings(max_examples=60, deadline=None)
@given(rows_on_a_grid, orders, scales)
def test_weights_are_a_distribution_in_the_order_of_alpha(alpha, order, scale):
    alpha = alpha * scale
    mix = entmax(alpha, all_kept(alpha), order)
    assert (mix >= 0).all()
    assert abs(mix.sum().item() - 1) < 1e-14
    ranked = mix[0, alpha[0].argsort()]
    assert (ranked.diff() > -1e-15).all()
    tied = alpha[0, :, None] == alpha[0]
    assert (mix[0, :, None] - mix[0])[tied].abs().max() < 1e-15


@settings(max_examples=60, deadline=None)
@given(rows_on_a_grid, orders, scales, st.integers(-50, 50))
def test_adding_a_constant_to_alpha_changes_nothing(alpha, order, scale, shift):
    alpha = alpha * scale
    keep = all_kept(alpha)
    torch.testing.assert_close(entmax(alpha + shift, keep, order), entmax(alpha, keep, order), **CLOSE)


@settings(max_examples=60, deadline=None)
@given(rows_on_a_grid, orders, scales, st.randoms(use_true_random=False))
def test_permuting_alpha_permutes_the_weights(alpha, order, scale, random):
    alpha = alpha * scale
    permutation = list(range(alpha.shape[1]))
    random.shuffle(permutation)
    keep = all_kept(alpha)
    torch.testing.assert_close(
        entmax(alpha[:, permutation], keep, order), entmax(alpha, keep, order)[:, permutation], **CLOSE
    )


@settings(max_examples=60, deadline=None)
@given(rows_on_a_grid, orders, scales, st.data())
def test_a_pruned_row_is_the_row_of_its_survivors(alpha, order, scale, data):
    alpha = alpha * scale
    ops = alpha.shape[1]
    flags = data.draw(st.lists(st.booleans(), min_size=ops, max_size=ops).filter(any))
    keep = torch.tensor([flags])
    grad = torch.arange(1.0, ops + 1, dtype=torch.float64)[None]
    mix, alpha_grad = weights_and_gradient(alpha, keep, order, grad)
    part = alpha[:, flags]
    expected, expected_grad = weights_and_gradient(part, all_kept(part), order, grad[:, flags])
    torch.testing.assert_close(mix[:, flags], expected, **CLOSE)
    if expected[expected > 0].min() > 1e-6:  # at a boundary the gradient for an order above 2 jumps
        torch.testing.assert_close(alpha_grad[:, flags], expected_grad, rtol=1e-6, atol=1e-9)
    assert (mix[~keep] == 0).all()
    assert (alpha_grad[~keep] == 0).all()
    assert not (support(alpha, keep, order) & ~keep).any()


@settings(max_examples=60, deadline=None)
@given(rows_on_a_grid, orders, scales)
def test_removing_operations_of_weight_zero_changes_nothing(alpha, order, scale):
    alpha = alpha * scale
    keep = all_kept(alpha)
    alive = support(alpha, keep, order)
    assert alive.any()
    torch.testing.assert_close(entmax(alpha, alive, order), entmax(alpha, keep, order), **CLOSE)
    assert torch.equal(support(alpha, alive, order), alive)


@pytest.mark.parametrize("order", SPARSE_ORDERS)
def test_the_support_is_where_the_weights_are_positive(order):
    alpha = rows_of_every_scale(400)
    keep = random_rows(len(alpha), 8, scale=1.0, seed=1) > -0.7
    alive = support(alpha, keep, order)
    assert torch.equal(alive, entmax(alpha, keep, order) > 0)
    assert not alive.all()
    assert torch.equal(alive, support(alpha, keep, torch.tensor(order, dtype=torch.float64)))


@pytest.mark.parametrize("order", [1.3, 1.5, 2.5, 3.0, 4.0])
def test_the_support_agrees_with_bisection_in_forty_digits(order):
    alpha = torch.cat([random_rows(4, 8, scale) for scale in (1e-2, 0.1, 1.0)])
    expected = torch.tensor([decimal_support(row, order) for row in alpha.tolist()])
    assert torch.equal(support(alpha, all_kept(alpha), order), expected)


@pytest.mark.parametrize("order", [1.5, 3.0])
def test_the_support_of_float32_alpha_is_decided_in_float64(order):
    alpha = rows_of_every_scale(2000).float()
    keep = all_kept(alpha)
    assert torch.equal(support(alpha, keep, order), support(alpha.double(), keep, order))


@pytest.mark.parametrize(("order", "winning", "losing"), THRESHOLDS)
def test_an_operation_dies_at_the_derived_gap(order, winning, losing):
    for k, printed in zip(range(8, 1, -1), losing, strict=True):
        for printed_gap, direction in ((printed, -1.0), (winning, 1.0)):
            half_a_digit = 0.51 * 10.0 ** Decimal(printed_gap).as_tuple().exponent
            below, above = torch.zeros(2, 1, k, dtype=torch.float64)
            below[0, 0] = direction * (float(printed_gap) - half_a_digit)
            above[0, 0] = direction * (float(printed_gap) + half_a_digit)
            assert support(below, all_kept(below), order).all()
            survivors = k - 1 if direction < 0 else 1
            assert support(above, all_kept(above), order).sum() == survivors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", ORDERS)
def test_degenerate_rows_give_exact_answers_and_finite_gradients(order, dtype):
    alpha = torch.tensor([[0.7] * 4, [1e4, 0, 0, -1e4], [0.3, 0.2, 0.1, 0.0], [0.3, 0.2, 0.1, 0.0]], dtype=dtype)
    keep = torch.tensor([[True] * 4, [True] * 4, [False] * 4, [False, False, True, False]])
    grad = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=dtype).expand(4, 4)
    mix, alpha_grad = weights_and_gradient(alpha, keep, order, grad)
    expected = [[0.25] * 4, [1, 0, 0, 0], [0] * 4, [0, 0, 1, 0]]
    torch.testing.assert_close(mix, mix.new_tensor(expected))
    assert (mix[1:] == mix.new_tensor(expected)[1:]).all()
    gain = 4 ** (order - 2)  # at uniform weights, the derivative is this times "minus the mean"
    torch.testing.assert_close(alpha_grad[0], gain * (grad[0] - 2.5))
    assert (alpha_grad[1:] == 0).all()

    learned = torch.full((4, 1), order, dtype=dtype, requires_grad=True)
    (order_grad,) = torch.autograd.grad(entmax(alpha, keep, learned), learned, grad)
    torch.testing.assert_close(order_grad, torch.zeros_like(order_grad), rtol=0, atol=1e-6)
    assert support(alpha, keep, order)[2].sum() == 0


@pytest.mark.parametrize("order", ORDERS)
def test_what_lies_at_pruned_entries_does_not_matter(order):
    alpha = random_rows(3, 5, scale=0.1)
    keep = torch.tensor([[True, True, False, True, False]]).expand(3, 5)
    grad = random_rows(3, 5, scale=1.0, seed=1)
    mix, alpha_grad = weights_and_gradient(alpha, keep, order, grad)
    for junk in (-math.inf, math.inf, math.nan, 1e30):
        spoilt = weights_and_gradient(alpha.masked_fill(~keep, junk), keep, order, grad.masked_fill(~keep, junk))
        assert torch.equal(mix, spoilt[0])
        assert torch.equal(alpha_grad, spoilt[1])
        assert torch.equal(support(alpha.masked_fill(~keep, junk), keep, order), mix > 0)


@pytest.mark.parametrize("order", ORDERS)
def test_a_nan_in_alpha_is_not_mistaken_for_a_zero_weight(order):
    alpha = torch.tensor([[0.0, math.nan, 1.0], [0.0, 9.0, 1.0]])
    keep = torch.tensor([[True, True, True], [True, True, False]])
    mix = entmax(alpha, keep, order)
    assert mix[0].isnan().all()
    assert mix[1].isfinite().all()
    assert support(alpha, keep, order)[0].all()


@pytest.mark.parametrize("order", ORDERS)
def test_float32_weights_are_accurate_to_seven_digits(order):
    alpha = rows_of_every_scale(1000).float()
    exact = entmax(alpha.double(), all_kept(alpha), order)
    assert (entmax(alpha, all_kept(alpha), order) - exact).abs().max() < 1e-6


@pytest.mark.parametrize("order", SPARSE_ORDERS)
def test_the_solver_converges_next_to_a_boundary_too(order):
    # Seven ties and a loser that is about to die, of known weight.
    m = order - 1
    smallest = 10.0 ** -torch.arange(1.0, 10.0, dtype=torch.float64)[:, None]
    weights = torch.cat([smallest, ((1 - smallest) / 7).expand(-1, 7)], dim=1)
    alpha = weights.pow(m) / m
    torch.testing.assert_close(entmax(alpha, all_kept(alpha), order), weights, rtol=1e-4, atol=1e-15)


@pytest.mark.parametrize("order", [3.0, 4.0])
def test_the_pairwise_gradient_beats_the_textbook_one_next_to_a_boundary(order):
    # Rows in which one operation has weight 1e-6; the threshold is 0, so alpha holds that weight in full.
    others = random_rows(500, 7, scale=1.0).softmax(dim=1)
    weights = torch.cat([torch.full((500, 1), 1e-6), (1 - 1e-6) * others], dim=1)
    alpha = (weights.pow(order - 1) / (order - 1)).float()
    grad = random_rows(500, 8, scale=1.0, seed=1).float()
    keep = all_kept(alpha)
    mix, ours = weights_and_gradient(alpha, keep, order, grad)
    _, exact = weights_and_gradient(alpha.double(), keep, order, grad.double())
    s = mix.pow(2 - order)
    textbook = s * (grad - (s * grad).sum(dim=1, keepdim=True) / s.sum(dim=1, keepdim=True))

    def dying_error(gradient: Tensor) -> float:
        """Median relative error of the gradient of the operation about to die."""
        return ((gradient - exact)[:, 0] / exact[:, 0]).abs().median().item()

    assert dying_error(ours) < 1e-5
    assert dying_error(ours) < dying_error(textbook) / 20


@pytest.mark.parametrize("order", ORDERS)
def test_autocast_changes_nothing(order):
    alpha, grad = random_rows(28, 8, scale=0.1).float(), random_rows(28, 8, scale=1.0, seed=1).float()
    plain = weights_and_gradient(alpha, all_kept(alpha), order, grad)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = weights_and_gradient(alpha, all_kept(alpha), order, grad)
    for left, right in zip(plain, under, strict=True):
        assert right.dtype == torch.float32
        assert torch.equal(left, right)


def test_no_value_is_looked_at_on_the_way():
    # A meta tensor has no values, so that any question about one raises; on a GPU it would wait for the device.
    alpha = torch.empty(28, 8, device="meta", requires_grad=True)
    keep = torch.empty(28, 8, device="meta", dtype=torch.bool)
    order = torch.empty(28, 1, device="meta", requires_grad=True)
    mix = entmax(alpha, keep, order)
    mix.sum().backward()
    assert alpha.grad.shape == (28, 8)
    assert order.grad.shape == (28, 1)
    assert support(alpha, keep, 3.0).shape == (28, 8)


REFUSED = [
    (torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), 0.5, ValueError, "at least 1, got 0.5"),
    (torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), math.inf, ValueError, "finite and at least 1, got inf"),
    (torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), math.nan, ValueError, "got nan"),
    (torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), torch.ones(2), ValueError, r"\(1, 1\), one per row"),
    (torch.zeros(1, 2), torch.ones(1, 3, dtype=torch.bool), 2.0, ValueError, r"\(1, 2\) and \(1, 3\)"),
    (torch.zeros(2), torch.ones(2, dtype=torch.bool), 2.0, ValueError, r"shape \(rows, ops\)"),
    (torch.zeros(1, 2), torch.ones(1, 2), 2.0, TypeError, "keep must be bool, got torch.float32"),
    (torch.zeros(1, 2).bfloat16(), torch.ones(1, 2).bool(), 2.0, TypeError, "bfloat16: half precision rounds away"),
    (torch.zeros(1, 2).half(), torch.ones(1, 2).bool(), 2.0, TypeError, "Keep alpha in float32"),
]


@pytest.mark.parametrize(("alpha", "keep", "order", "error", "message"), REFUSED)
@pytest.mark.parametrize("function", [entmax, support])
def test_a_bad_argument_is_refused_with_what_would_work(function, alpha, keep, order, error, message):
    with pytest.raises(error, match=message):
        function(alpha, keep, order)
