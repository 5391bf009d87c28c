"""How sharply a loss bends along alpha: the largest eigenvalue of its Hessian, a sign that a search collapses.

RobustDARTS (Zela et al., 2020) found that cells get worse once this eigenvalue has grown. It stands in the trace of
any method, and ``stopping.eigenvalue_growth`` acts on it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from diffnas.components.level import Batch
from diffnas.components.relaxation import weigh
from diffnas.engine import seeds
from diffnas.engine.common import fixed_random
from diffnas.engine.course import Course
from diffnas.engine.probe import buffers_kept
from diffnas.nets.auxiliary import Output
from diffnas.nets.ops import draw_noise_from

Loss = Callable[[Tensor], Tensor]
Product = Callable[[Tensor], Tensor]


def eigenvalue(course: Course) -> float:
    """The largest eigenvalue of the Hessian of the loss for alpha, on one batch: held out if there are such pictures.

    With alpha's weight decay, over the entries of alpha that can still move, 0 if there are none. Weights are at
    rest, not sampled; batch statistics are those of training. Nothing of the search moves.

    The Hessian is exact, by differentiating twice, which takes several times the memory of a step. Differences of
    first gradients would not do: over any distance that rounding allows, ReLUs turn over, and that bends a loss more.
    """
    state, supernet = course.state, course.state.supernet
    live = state.movable
    if not bool(live.any()):
        return 0.0
    loss = _loss_of_alpha(course)
    place = seeds.derive(course.settings.seed, "curvature", state.epoch)
    before = supernet.forward_by, supernet.recompute
    # Of the ways forward, only this one can be differentiated twice.
    supernet.forward_by, supernet.recompute = "plain", False
    supernet.train()
    try:
        with buffers_kept(supernet), fixed_random(place):
            return largest(hessian_product(loss, state.alpha, live), int(live.sum()), like=state.alpha)
    finally:
        supernet.forward_by, supernet.recompute = before


def _loss_of_alpha(course: Course) -> Loss:
    """The loss of a batch as a function of alpha, which draws the same noise every time."""
    state, drive = course.state, course.drive
    pictures, labels = course.prepare(_draw(course), drive.generator("curvature"))
    (group, *_) = state.alpha_optimizer.param_groups
    decay = float(group.get("weight_decay", 0.0))

    def loss(alpha: Tensor) -> Tensor:
        draw_noise_from(state.supernet, drive.generator("curvature noise"))
        now = course.quiet()
        mix = course.woven(weigh(state.weighting, alpha, state.keep, now), now)
        # The supernet itself: in full precision, and not from a graph.
        given = state.supernet(pictures, mix)
        logits = given.logits if isinstance(given, Output) else given
        found: Tensor = functional.cross_entropy(logits, labels)
        return found + decay / 2 * alpha.square().sum()

    return loss


def _draw(course: Course) -> Batch:
    """A random batch of the held-out pictures, or of the others if there are none."""
    drive, device = course.drive, course.fabric.device
    indices = course.held_out_indices if course.holds_out else drive.indices
    drawn = torch.randperm(len(indices), generator=drive.generator("curvature order", "cpu"))
    pictures, labels = drive.split.take(indices[drawn[: course.settings.batch]])
    return pictures.to(device), labels.to(device)


def hessian_product(loss: Loss, alpha: Tensor, live: Tensor) -> Product:
    """Multiplies by the Hessian of ``loss``, restricted to the ``live`` entries of alpha, exactly.

    Args:
        loss: twice differentiable in alpha.
        alpha: where, ``(edges, ops)``.
        live: which entries, ``(edges, ops)``, bool.
    """
    at = alpha.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(at), at, create_graph=True, materialize_grads=True)
    if not slope.requires_grad:
        return torch.zeros_like

    def product(vector: Tensor) -> Tensor:
        along = torch.zeros_like(alpha).masked_scatter(live, vector)
        (bent,) = torch.autograd.grad(slope, at, along, retain_graph=True, materialize_grads=True)
        picked: Tensor = bent[live]
        return picked

    return product


def largest(product: Product, size: int, *, like: Tensor, steps: int = 30, tolerance: float = 1e-3) -> float:
    """The largest eigenvalue of a symmetric matrix that is known by its products with vectors: Lanczos' method.

    Args:
        product: multiplies a vector, ``(size,)``, by the matrix.
        size: of the matrix.
        like: a tensor with the type and device of the vectors.
        steps: at most so many products; ``size`` of them are exact.
        tolerance: how well the eigenvalue has to be known, relative to its size.

    The first vector comes from torch's own random numbers.

    >>> matrix = torch.diag(torch.tensor([-5.0, 1.0, 3.0]))
    >>> round(largest(lambda vector: matrix @ vector, 3, like=matrix), 4)
    3.0
    """
    vector = torch.randn(size, dtype=like.dtype, device=like.device)
    basis = [vector / vector.norm()]
    found: list[Tensor] = []
    for step in range(min(steps, size)):
        found.append(product(basis[-1]))
        Q, AQ = torch.stack(basis), torch.stack(found)
        small = (Q @ AQ.T).double().cpu()
        values, vectors = torch.linalg.eigh((small + small.T) / 2)
        rest = AQ[-1] - Q.T @ (Q @ AQ[-1])
        # Twice is enough: what rounding left of the other vectors would come back as copies of eigenvalues.
        rest = rest - Q.T @ (Q @ rest)
        top = float(values[-1])
        if float(rest.norm()) * abs(float(vectors[-1, -1])) <= tolerance * abs(top) or step + 1 == size:
            break
        basis.append(rest / rest.norm())
    return top
