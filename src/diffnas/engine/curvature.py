"""How sharply a loss bends along alpha: the largest eigenvalue of its Hessian, a sign that a search collapses.

RobustDARTS (Zela et al., 2020) found that cells get worse once this eigenvalue has grown. The trace of any method can
hold it, and ``stopping.eigenvalue_growth`` stops a search by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from diffnas.components.level import Batch
from diffnas.components.relaxation import weigh
from diffnas.engine import seeds
from diffnas.engine.lookahead import buffers_kept
from diffnas.engine.passes import JUDGED
from diffnas.engine.running_search import RunningSearch
from diffnas.engine.seeds import fixed_random
from diffnas.nets.auxiliary import Output
from diffnas.nets.carried import reading

Loss = Callable[[Tensor], Tensor]
Product = Callable[[Tensor], Tensor]


def eigenvalue(running: RunningSearch) -> float:
    """The largest eigenvalue of the Hessian of the loss for alpha, on one batch, a held-out one if there are any.

    The loss includes alpha's weight decay. The Hessian is over the entries of alpha that can still move; without any,
    the eigenvalue is 0. Mixing weights are not sampled, and batch norms use batch statistics. Nothing of the search
    changes.

    The Hessian is exact, by differentiating twice, which takes several times the memory of a step. Differences of
    first gradients would be wrong: a distance that exceeds rounding errors switches ReLUs on and off, and that changes
    gradients more than the curvature does.
    """
    state, supernet = running.state, running.state.supernet
    live = state.movable
    if not bool(live.any()):
        return 0.0
    batch, ranks = _draw(running), running.loop.ranks
    loss = _loss_of_alpha(running, batch)
    place = seeds.derive(running.settings.seed, "curvature", state.epoch)
    before = supernet.backend, supernet.recompute
    # Only the plain way can be differentiated twice.
    supernet.backend, supernet.recompute = None, False
    supernet.train()
    try:
        with buffers_kept(supernet), fixed_random(place):
            product = hessian_product(loss, state.alpha, live)

            def averaged(vector: Tensor) -> Tensor:
                return ranks.mean([product(vector)], len(batch[1]))[0]

            return largest(averaged, int(live.sum()), like=state.alpha)
    finally:
        supernet.backend, supernet.recompute = before


def _loss_of_alpha(running: RunningSearch, batch: Batch) -> Loss:
    """The loss of ``batch`` as a function of alpha. Each call draws the same noise."""
    state, loop = running.state, running.loop
    pictures, labels = running.prepare(batch, loop.own_generator("curvature"))
    (group, *_) = state.alpha_optimizer.param_groups
    decay = float(group.get("weight_decay", 0.0))

    def loss(alpha: Tensor) -> Tensor:
        running.draw_noise_from(loop.own_generator("curvature noise"))
        now = running.quiet()
        weights = running.edge_weights(weigh(state.weighting, alpha, state.keep, now), now)
        # The supernet itself, not ``running.net``: in full precision, and without graphs.
        with reading(state.supernet, JUDGED, keep=False):
            given = state.supernet(pictures, weights)
        logits = given.logits if isinstance(given, Output) else given
        return state.task.loss(logits, labels) + decay / 2 * alpha.square().sum()

    return loss


def _draw(running: RunningSearch) -> Batch:
    """A random batch of the held-out pictures, or of the others if there are none."""
    indices = running.held_out_indices if running.holds_out else running.loop.indices
    return next(running.loop.draws(indices, "curvature order", [running.state.step]))


def hessian_product(loss: Loss, alpha: Tensor, live: Tensor) -> Product:
    """A function that multiplies a vector by the Hessian of ``loss``, exactly.

    Args:
        loss: twice differentiable in alpha.
        alpha: where the Hessian is taken, ``(edges, ops)``.
        live: the entries of alpha to which the Hessian is restricted, ``(edges, ops)``, bool.
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


SMALL = 16
"""Up to this size all entries of a matrix are computed, which takes as many products as Lanczos' method."""


def largest(product: Product, size: int, *, like: Tensor, tolerance: float = 1e-3) -> float:
    """The largest eigenvalue of a symmetric matrix, from its products with vectors.

    Args:
        product: multiplies a vector, ``(size,)``, by the matrix.
        size: the number of rows of the matrix.
        like: a tensor with the type and device of the vectors.
        tolerance: the relative error that the eigenvalue of a matrix of more than ``SMALL`` rows may have.

    The first vector is drawn from torch's global random numbers.

    >>> matrix = torch.diag(torch.tensor([-5.0, 1.0, 3.0]))
    >>> round(largest(lambda vector: matrix @ vector, 3, like=matrix), 4)
    3.0
    """
    if size <= SMALL:
        whole = torch.stack([product(row) for row in torch.eye(size, dtype=like.dtype, device=like.device)])
        return float(torch.linalg.eigvalsh((whole + whole.T).double().cpu() / 2)[-1])

    def multiply(vector: Any) -> Any:
        return product(torch.from_numpy(vector.ravel()).to(like)).double().cpu().numpy()

    matrix = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    start = torch.randn(size, dtype=torch.float64).numpy()
    first = multiply(start)
    if not first.any() or not np.isfinite(first).all():  # ARPACK takes neither
        return float(first.sum())
    try:
        (top,) = eigsh(
            matrix, k=1, which="LA", v0=start, ncv=SMALL, maxiter=4, tol=tolerance, return_eigenvectors=False
        )
    except ArpackNoConvergence as error:
        (top,) = error.eigenvalues if len(error.eigenvalues) else (float("nan"),)
    return float(top)
