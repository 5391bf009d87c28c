"""The network of a genotype, whose cells are stacked, for training from scratch and for use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffnas.genotype import Genotype
from diffnas.nets.auxiliary import Output
from diffnas.nets.backend import Backend, applied, usable
from diffnas.nets.cell import Cell, Factors, Place, listed, runner
from diffnas.nets.frames import FrameFactory, Reading, build_frame
from diffnas.nets.frames.parts import as_weights
from diffnas.nets.ops import build
from diffnas.nets.sizes import sizes_of_genotype
from diffnas.nets.slot import OpFactory
from diffnas.nets.wiring import Wiring
from diffnas.skeleton import StemKind, skeleton_of
from diffnas.space import Edge

if TYPE_CHECKING:
    from typing_extensions import Unpack


class FixedEdge(nn.Module):
    """The one operation on an edge of a network.

    Args:
        op: the operation.
        column: the place of its name among the operations of the cell.
    """

    def __init__(self, op: nn.Module, column: int = 0) -> None:
        super().__init__()
        self.op, self.column = op, column

    @property
    def ops(self) -> dict[str, nn.Module]:
        """The operation by its column, as the edges of a supernet have theirs."""
        return {str(self.column): self.op}

    def forward(self, x: Tensor, factor: Tensor | None, backend: Backend | None = None) -> Tensor:
        """The result of the operation, ``(B, ...)``, times a factor for each sample, ``(B,)``, if there is one."""
        value = applied(self.op, x, backend)
        return value if factor is None else value * factor.to(value.dtype).view(-1, *(1,) * (value.dim() - 1))


def _droppable(edge: nn.Module) -> bool:
    """Whether drop-path may drop the result of an edge, which is so unless its operation is the identity."""
    assert isinstance(edge, FixedEdge)
    return not isinstance(edge.op, nn.Identity)


def fixed_cell(genotype: Genotype, place: Place, factories: Mapping[str, OpFactory] | None = None) -> Cell:
    """A cell of a genotype's network. The skeleton decides whether nodes that nothing feeds are left out."""
    cell, skeleton = genotype.cells[place.kind], skeleton_of(genotype.skeleton)
    connections, output = genotype.built(place.kind)
    wired = tuple(Edge(source, target) for _, source, target in connections)
    wiring = Wiring(inputs=cell.inputs, nodes=cell.nodes, edges=wired, output=output)
    slots = place.slots(wiring, affine=True)
    ops = [build(each.op, slot, factories=factories) for each, slot in zip(connections, slots, strict=True)]
    names = sorted({each.op for each in connections})
    return Cell(
        wiring,
        place,
        [FixedEdge(op, names.index(each.op)) for op, each in zip(ops, connections, strict=True)],
        join=skeleton.join,
        fills=not skeleton.drops_dead_nodes,
        averages=skeleton.averages,
        stacks=skeleton.gated,
        ops=names,
    )


class Network(nn.Module):
    """The network of a genotype.

    Args:
        genotype: the cells.
        classes: number of logits.
        in_channels: channels of the pictures. They may be of any size from 8x8.
        channels: channels of the first cell's nodes; None for the published number (``published_shape``).
        depth: number of cells; None for the published number, or for as many as the genotype has places.
        stem: "cifar", "cifar-half" (a quarter of the work) or "imagenet".
        auxiliary: whether to add the auxiliary head of DARTS, which runs in training mode only.
        factories: what builds the user's own operations of the genotype, by name, as in the search space.
        frame: what builds the user's own frame, as in the search space.
        recompute: compute the inside of each cell again in the backward pass in place of keeping it. The results are
            the same, with less memory and more time. The attribute may be set anytime.
        backend: computes the cells in training mode; None calls one module after the other. The attribute may be
            set anytime.
        picture: height and width of the pictures, for frames with tables of positions; or the steps of a sequence that
            such a frame reads at once, ``(steps,)``. Other pictures and shorter sequences are possible.
        sequences: how a net reads sequences: ``tokens``, ``forecast``, ``dropouts`` and ``start`` of
            :class:`diffnas.nets.frames.Sizes`.

    Raises:
        ValueError: for a genotype or sizes that no network can have.

    >>> from diffnas.genotype import published
    >>> net = Network(published("DARTS_V2"), classes=10, channels=4, depth=3).eval()
    >>> net(torch.zeros(2, 3, 8, 8)).logits.shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        classes: int,
        in_channels: int = 3,
        channels: int | None = None,
        depth: int | None = None,
        stem: StemKind = "cifar",
        auxiliary: bool = False,
        factories: Mapping[str, OpFactory] | None = None,
        frame: FrameFactory | None = None,
        recompute: bool = False,
        backend: Backend | None = None,
        picture: tuple[int, ...] = (32, 32),
        **sequences: Unpack[Reading],
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.backend = backend
        sizes = sizes_of_genotype(
            genotype,
            classes,
            in_channels,
            channels=channels,
            depth=depth,
            stem=stem,
            auxiliary=auxiliary,
            frame=frame,
            picture=picture,
            **sequences,
        )
        self.cells: list[Cell] = []  # the same cells as in the frame, which has them as submodules
        self.frame = build_frame(sizes, lambda place: listed(self.cells, fixed_cell(genotype, place, factories)))

    def forward(self, x: Tensor, drop_path: float = 0.0, generator: torch.Generator | None = None) -> Output:
        """Logits of pictures ``(B, in_channels, H, W)``.

        Args:
            x: the pictures.
            drop_path: in training mode, the probability that a picture loses a connection that is not the identity
                (DARTS; FractalNet, Larsson et al., 2017). The others are divided by ``1 - drop_path``. In a transformer
                it is that of the last branch, and rises linearly from 0 (Huang et al., 2016, stochastic depth).
            generator: draws the dropped connections, on any device; None takes torch's global random numbers.
        """
        factors = self._factors(x, drop_path if self.training else 0.0, generator)
        backend = usable(self.backend, as_weights(self, x))

        # Not factors[cell]: where modules are shared, torch.export calls cells by stand-ins.
        found: Output = self.frame(x, runner(lambda cell: factors.get(cell, ()), backend, recompute=self.recompute))
        return found

    def _factors(self, x: Tensor, drop_path: float, generator: torch.Generator | None) -> dict[Cell, Factors]:
        """For each cell, the factors of its edges."""
        # Each step has one draw and one copy to the device, not one for each connection.
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path is a probability below 1, not {drop_path}.")
        masks = iter(self._masks(x, drop_path, generator) if drop_path else ())
        return {
            cell: [next(masks) if drop_path and _droppable(edge) else None for edge in cell.edges]
            for cell in self.cells
        }

    def _masks(self, x: Tensor, drop_path: float, generator: torch.Generator | None) -> Sequence[Tensor]:
        connections = sum(_droppable(edge) for cell in self.cells for edge in cell.edges)
        device = x.device if generator is None else generator.device
        kept = torch.empty(connections, len(x), device=device, dtype=next(self.parameters()).dtype)
        stay: Tensor | float = 1 - drop_path
        if self.cells and self.cells[0].stream is not None:
            stay = 1 - drop_path * self._depths().to(kept)
            kept.bernoulli_(stay.expand_as(kept), generator=generator)
        else:
            kept.bernoulli_(stay, generator=generator)
        return (kept / stay).to(x.device).unbind()

    def _depths(self) -> Tensor:
        """The depth of each connection that may be dropped: 0 in the first branch of a transformer, 1 in the last."""
        last = max(len(self.cells) - 1, 1)
        found = [index / last for index, cell in enumerate(self.cells) for edge in cell.edges if _droppable(edge)]
        return torch.tensor(found).unsqueeze(1)


def parameters_of(network: nn.Module, *, auxiliary: bool = False) -> int:
    """Number of parameters; with ``auxiliary``, also those of the auxiliary head, which papers do not count."""
    named = network.named_parameters()
    return sum(weight.numel() for name, weight in named if auxiliary or not name.startswith("frame.auxiliary."))
