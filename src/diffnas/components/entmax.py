"""Alpha-entmax: mixing weights that can be exactly zero, with exact gradients.

Peters, Niculae and Martins (2019). With ``m = order - 1`` the weights are ``p_i = [m a_i - tau]_+^(1/m)``, where
``tau`` makes them sum to one. Order 1 is softmax, order 2 is sparsemax, and a higher order gives more zeros.

The solver first finds which weights are positive, which needs no root finding. Then it runs a fixed number of Newton
steps on these. No branch of the code depends on values, so the host never waits for an accelerator. Autocast runs none
of these operations in half precision, so the weights keep the precision of ``alpha`` inside ``torch.autocast``.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

__all__ = ["entmax", "support"]

# Below this order the formulas divide by almost 0. Softmax differs from them by less than 1e-2 there.
_SOFTMAX_BELOW = 1.01
# The error is at most 1e-11 for up to 16 operations and 1e-9 for 64, at any order, and near boundaries of supports.
_NEWTON_STEPS = 10


def entmax(alpha: Tensor, keep: Tensor, order: float | Tensor) -> Tensor:
    """Mixing weights that sum to one over the kept operations of a row, many of them exactly zero.

    Alpha-entmax (Peters, Niculae and Martins, 2019), restricted to the operations still in play. Orders from 1 to
    1.01 give softmax. If an operation of weight zero is removed, no other weight changes. ``alpha`` gets gradients,
    also of second order, and so does ``order`` if it is a tensor. The gradient of an operation of weight zero is
    exactly 0. The transforms of ``torch.func`` (``grad``, ``vmap``, ``jacrev``, ``jacfwd``) work too.

    Args:
        alpha: architecture parameters, ``(rows, ops)``, float32 or float64, finite where kept.
        keep: which operations are still in play, ``(rows, ops)``, bool.
        order: at least 1; a number, a tensor of shape ``()``, or one per row, ``(rows, 1)``. A tensor is not checked,
            because that would wait for the device. An entry below 1 acts as 1 and gets the gradient at 1, so that a
            learned order can rise again.

    Returns:
        Mixing weights, ``(rows, ops)``. Pruned operations get exactly 0, so a row that keeps nothing is 0 throughout.

    Raises:
        TypeError: ``alpha`` is neither float32 nor float64, or ``keep`` is not bool.
        ValueError: the shapes do not fit, or ``order`` is a number below 1 or not finite.

    >>> alpha = torch.tensor([[-2.0, 0.0, 0.5]])
    >>> keep = torch.ones(1, 3, dtype=torch.bool)
    >>> entmax(alpha, keep, order=1.5)
    tensor([[0.0000, 0.3260, 0.6740]])
    >>> entmax(alpha, keep, order=2)
    tensor([[0.0000, 0.2500, 0.7500]])
    """
    _check(alpha, keep)
    mix: Tensor = _Entmax.apply(alpha, keep, _order_column(order, alpha))  # type: ignore[no-untyped-call]
    return mix


@torch.no_grad()
def support(alpha: Tensor, keep: Tensor, order: float | Tensor) -> Tensor:
    """Which kept operations have a positive weight under :func:`entmax`, decided in float64.

    Pruning should use this function, because it gives the same on every device. A weight in lower precision can round
    to zero, or miss zero. Where ``alpha`` is not a number, no weight counts as zero.

    Args:
        alpha: architecture parameters, ``(rows, ops)``, float32 or float64.
        keep: which operations are still in play, ``(rows, ops)``, bool.
        order: as for :func:`entmax`.

    Returns:
        Whether each weight is positive, ``(rows, ops)``, bool. Below order 1.01 that is ``keep``.

    >>> support(torch.tensor([[-2.0, 0.0, 0.5]]), torch.ones(1, 3, dtype=torch.bool), order=2)
    tensor([[False,  True,  True]])
    """
    _check(alpha, keep)
    alpha = alpha.double()
    order = _order_column(order, alpha)
    inside = _inside(_bury(alpha, keep), _exponent(order))
    return (inside | (order < _SOFTMAX_BELOW)) & keep


def _check(alpha: Tensor, keep: Tensor) -> None:
    if alpha.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"entmax needs alpha in float32 or float64, got {alpha.dtype}: half precision rounds away the small "
            "differences that decide which weights are zero. Keep alpha in float32 and cast the weights instead."
        )
    if keep.dtype != torch.bool:
        raise TypeError(f"keep must be bool, got {keep.dtype}; try keep.bool().")
    if alpha.dim() != 2 or keep.shape != alpha.shape:
        raise ValueError(
            f"alpha and keep must both have shape (rows, ops), got {tuple(alpha.shape)} and {tuple(keep.shape)}."
        )


def _order_column(order: float | Tensor, alpha: Tensor) -> Tensor:
    """The order of each row, ``(rows, 1)``, in the precision of ``alpha``."""
    rows = len(alpha)
    if not isinstance(order, Tensor):
        if not (math.isfinite(order) and order >= 1):
            raise ValueError(f"the order of entmax must be finite and at least 1, got {order}; 1.5 to 3 are usual.")
        return alpha.new_full((rows, 1), order)
    if order.shape not in ((), (rows, 1)):
        raise ValueError(f"order must have shape () or ({rows}, 1), one per row, got {tuple(order.shape)}.")
    return order.to(alpha).expand(rows, 1)


def _exponent(order: Tensor) -> Tensor:
    """``m = order - 1``; 1, which is harmless, in rows where softmax gives the result."""
    return (order - 1).masked_fill(order < _SOFTMAX_BELOW, 1.0)


def _bury(alpha: Tensor, keep: Tensor) -> Tensor:
    """``alpha`` with the pruned operations far below all others."""
    # A finite floor, not -inf: a row pruned whole must give numbers, and -inf gives NaN.
    return alpha.masked_fill(~keep, torch.finfo(alpha.dtype).min)


def _inside(alpha: Tensor, m: Tensor) -> Tensor:
    """Whether each exact weight is positive: ``sum_j [m (a_j - a_i)]_+^(1/m) < 1``."""
    # Not in place: under vmap, several orders may share one alpha.
    lead = (alpha.unsqueeze(1) - alpha.unsqueeze(2)).clamp(min=0)
    mass = (lead * m.unsqueeze(2)).pow(m.reciprocal().unsqueeze(2)).sum(dim=2)
    return ~(mass >= 1)  # not "mass < 1": NaN must come out as NaN, never as a quiet zero


def _solve(alpha: Tensor, m: Tensor) -> Tensor:
    """Entmax of each row for ``m > 0``, by Newton's method on the exact support.

    With ``d_j = m (a_j - min a)`` over the support, ``t`` solves ``sum_j (d_j + t)^(1/m) = 1``. Newton runs on
    ``x = t^(1/w)`` with ``w = max(m, 1)``. The sum is convex and increasing in ``x``, so Newton descends from an upper
    bound to the solution and never passes it. The step is written in terms of ``t``, so no w-th root is computed.
    """
    limits = torch.finfo(alpha.dtype)
    inside = _inside(alpha, m)
    lowest = alpha.masked_fill(~inside, limits.max).amin(dim=1, keepdim=True)
    d = (m * (alpha - lowest)).masked_fill_(~inside, 0)
    w, power = m.clamp(min=1), m.reciprocal()
    m_over_w = m / w
    # Two upper bounds: the smallest weight is at most 1/k, and the largest at most 1.
    t = torch.minimum(
        inside.sum(dim=1, keepdim=True).to(m).pow_(-m),
        1 - d.amax(dim=1, keepdim=True),
    )
    for _ in range(_NEWTON_STEPS):
        # The floor avoids 0/0 in the slope, and bounds p^(2 - order) in the backward pass.
        u = d + t.clamp_(min=limits.tiny)
        v = u.pow(power).mul_(inside)
        excess = v.sum(dim=1, keepdim=True).sub_(1).mul_(m_over_w)
        slope = v.div_(u).sum(dim=1, keepdim=True).mul_(t)
        t *= excess.div_(slope).neg_().add_(1).clamp_(min=0).pow_(w)
    v = (d + t.clamp_(min=limits.tiny)).pow_(power).mul_(inside)
    return v.div_(v.sum(dim=1, keepdim=True))


def _alpha_gradient(grad: Tensor, mix: Tensor, order: Tensor) -> Tensor:
    """The gradient with respect to alpha, ``sum_j c_ij (g_i - g_j)`` with ``c_ij = s_i s_j / sum s``.

    Here ``s = p^(2 - order)``. The usual form, ``s_i (g_i - sum_j s_j g_j / sum s)``, has the same value. But if
    ``order > 2`` and a weight is almost zero, it subtracts huge numbers from each other.
    """
    inside = mix != 0
    order = order.masked_fill(order < _SOFTMAX_BELOW, 1.0)
    # The floor and the sums below are finite, so a row with an empty support gives 0 and not NaN.
    floor = torch.finfo(mix.dtype).min / 4
    log_s = ((2 - order) * mix.masked_fill(~inside, 1).log()).masked_fill(~inside, floor)
    total = log_s.logsumexp(dim=1, keepdim=True)
    coupling = (log_s.unsqueeze(2) + (log_s - total).unsqueeze(1)).exp()
    return (coupling * (grad.unsqueeze(2) - grad.unsqueeze(1))).sum(dim=2)


def _order_derivative(mix: Tensor, order: Tensor) -> Tensor:
    """The derivative of each weight with respect to the order of its row, ``(rows, ops)``, float64.

    The terms cancel to one part in ``(order - 1)^2``. So they are computed in float64, from weights that are first
    normalized again to sum to one.
    """
    mix, order = mix.double(), order.double()
    inside = mix != 0
    mix = mix / mix.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    log = mix.masked_fill(~inside, 1).log()
    m = _exponent(order)
    share = ((1 - m) * log).masked_fill(~inside, -math.inf).softmax(dim=1).masked_fill(~inside, 0)
    h = mix * log
    general = (mix - share) / m.square() - (h - share * h.sum(dim=1, keepdim=True)) / m
    at_one = 0.5 * (mix * (h * log).sum(dim=1, keepdim=True) - h * log)
    return torch.where(order < _SOFTMAX_BELOW, at_one, general)


class _Entmax(Function):
    """Entmax with its closed-form derivatives, for autograd and for the transforms of ``torch.func``.

    The derivatives are differentiable too. The derivative with respect to alpha is a symmetric matrix, so one function
    computes both its product with a tangent (forward) and its product with a gradient (backward).
    """

    @staticmethod
    def forward(alpha: Tensor, keep: Tensor, order: Tensor) -> Tensor:
        alpha = _bury(alpha, keep)
        sparse = _solve(alpha, _exponent(order))
        return torch.where(order < _SOFTMAX_BELOW, alpha.softmax(dim=1), sparse).masked_fill_(~keep, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output, inputs[2])
        ctx.save_for_forward(output, inputs[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        mix, order = ctx.saved_tensors
        # The gradient of an operation of weight 0 is dropped, even if it is infinite.
        grad = grad.masked_fill(mix == 0, 0)
        alpha_grad = order_grad = None
        if ctx.needs_input_grad[0]:
            alpha_grad = _alpha_gradient(grad, mix, order)
        if ctx.needs_input_grad[2]:
            order_grad = (grad.double() * _order_derivative(mix, order)).sum(dim=1, keepdim=True).to(order)
        return alpha_grad, None, order_grad

    @staticmethod
    def jvp(ctx: Any, alpha: Tensor | None, keep: None, order: Tensor | None) -> Tensor:
        mix, at_order = ctx.saved_tensors
        tangent = torch.zeros_like(mix)
        if alpha is not None:
            tangent = tangent + _alpha_gradient(alpha.masked_fill(mix == 0, 0), mix, at_order)
        if order is not None:
            tangent = tangent + (order.double() * _order_derivative(mix, at_order)).to(mix)
        return tangent

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        """Entmax of a batch of tables, computed as one table with more rows, because rows are independent."""
        tables = [
            table.expand(info.batch_size, *table.shape) if dim is None else table.movedim(dim, 0)
            for table, dim in zip(inputs, in_dims, strict=True)
        ]
        mix: Tensor = _Entmax.apply(*(table.flatten(0, 1) for table in tables))  # type: ignore[no-untyped-call]
        return mix.view(tables[0].shape), 0
