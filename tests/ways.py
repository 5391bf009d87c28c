"""The ways in which tests compute a net: plain, and by backends that must agree with it."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import sums_reference
import torch
from torch import Tensor, nn

from diffnas.backends.choose import choose
from diffnas.backends.node_by_node import Kernels, NodeByNode, through
from diffnas.backends.norms import update_running
from diffnas.backends.schedule import is_fixed, schedule, why_unknown
from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.backend import Backend
from diffnas.nets.cell import Cell
from diffnas.nets.supernet import Supernet


def mixed_sums(
    inputs: Sequence[Tensor], mix: Tensor, *, norms: Sequence[Sequence[nn.BatchNorm2d]], added: Sequence[Tensor] = ()
) -> tuple[Tensor, ...]:
    """The mixed sums of the reference, with running averages updated as by the batch norms themselves."""
    totals, statistics = sums_reference.mixed_sums(inputs, mix, normed=list(map(bool, norms)), added=added)
    pairs = [(norm, k) for k, own in enumerate(norms) for norm in own]
    update_running([norm for norm, _ in pairs], statistics, [k for _, k in pairs])
    return totals


# Functions for the chains and the pools, because a copied cell shares them.
KERNELS = Kernels(
    mixed_sums=mixed_sums,
    convolve=lambda x, chains: [through(chain, x) for chain in chains],
    pools=lambda x, modules: [x if pool is None else pool(x) for pool in modules],
)


class InPyTorch:
    """Node by node, as the kernels compute a cell, but each step in PyTorch: for every dtype, on every device."""

    name = "torch"

    def why_not(self, x: Tensor) -> str | None:
        return "autocast mixes precisions" if torch.is_autocast_enabled(x.device.type) else None

    def compile(self, cell: Cell) -> NodeByNode | None:
        return None if is_fixed(cell) else NodeByNode(cell, KERNELS)

    def why_slower(self, cell: Cell) -> str | None:
        return why_unknown(cell, schedule(cell))

    def computing(self, threads: int) -> Any:
        return nullcontext()

    def apply(self, op: nn.Module, x: Tensor) -> Tensor:
        return op(x)


def assert_as_exact(exact: Sequence[Tensor], stock: Sequence[Tensor], ours: Sequence[Tensor]) -> None:
    """Most tensors of ours are about as near to those in double precision as those of stock modules."""
    exact = [each.double() for each in exact]
    pairs = [zip(run, exact, strict=True) for run in (stock, ours)]
    apart = [torch.stack([(found - right).norm() for found, right in own]) for own in pairs]
    sizes = torch.stack([each.norm() for each in exact])
    # Some tensors are off, for a ReLU or a max-pool that flips moves them far more than all rounding does.
    assert (apart[1] <= 3 * apart[0] + 1e-5 * sizes + 1e-6).double().mean() > 0.9
    assert apart[1].median() <= 2 * apart[0].median() + 1e-7


def backend(way: str, dtype: torch.dtype = torch.float32) -> Backend | None:
    """None for "plain"; for "fast" the kernels in float32 on a CPU, and PyTorch node by node in other precision."""
    if way == "plain":
        return None
    chosen = choose("auto", torch.device("cpu"), "32-true").backend if dtype == torch.float32 else None
    return chosen or InPyTorch()


def edge_weights_of(net: Supernet, mix: Tensor) -> EdgeWeights:
    """The weights of edges from columns: of the operations, of the auxiliary skip and of the passing channels."""
    ops, options = len(net.space.ops), net.options
    return EdgeWeights(
        mix[:, :ops],
        auxiliary=None if options.auxiliary is None else mix[:, ops],
        passing=mix[:, -1] if options.one_in > 1 else None,
    )
