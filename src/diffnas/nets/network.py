"""A genotype as a network: its cells stacked, for training from scratch and for use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from diffnas.genotype import Genotype
from diffnas.nets.auxiliary import Output
from diffnas.nets.backend import Backend, applied, usable
from diffnas.nets.cell import Cell, Factors, Place, listed, runner
from diffnas.nets.frames import FrameFactory, build_frame
from diffnas.nets.frames.parts import as_weights
from diffnas.nets.ops import build
from diffnas.nets.sizes import sizes_of_genotype
from diffnas.nets.slot import OpFactory
from diffnas.nets.wiring import Wiring
from diffnas.skeleton import StemKind, skeleton_of
from diffnas.space import Edge


class FixedEdge(nn.Module):
    """The one operation on an edge of a network."""

    def __init__(self, op: nn.Module) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor, factor: Tensor | None, backend: Backend | None = None) -> Tensor:
        """What the operation gives, ``(B, ...)``, times a factor for each sample, ``(B,)``, if there is one."""
        value = applied(self.op, x, backend)
        return value if factor is None else value * factor.to(value.dtype).view(-1, *(1,) * (value.dim() - 1))


def _droppable(edge: nn.Module) -> bool:
    """Whether drop-path may drop what an edge gives: all but the identities."""
    assert isinstance(edge, FixedEdge)
    return not isinstance(edge.op, nn.Identity)


def fixed_cell(genotype: Genotype, place: Place, factories: Mapping[str, OpFactory] | None = None) -> Cell:
    """A cell of a genotype's network; what a node that nothing feeds means is the skeleton's to say."""
    cell, skeleton = genotype.cells[place.kind], skeleton_of(genotype.skeleton)
    dropped = skeleton.drops_dead_nodes
    connections, output = (cell.effective, cell.joined) if dropped else (cell.connections, cell.output)
    edges = tuple(Edge(source, target) for _, source, target in connections)
    wiring = Wiring(inputs=cell.inputs, nodes=cell.nodes, edges=edges, output=output)
    slots = place.slots(wiring, affine=True)
    ops = [build(each.op, slot, factories=factories) for each, slot in zip(connections, slots, strict=True)]
    return Cell(wiring, place, [FixedEdge(op) for op in ops], join=skeleton.join, fills=not dropped)


class Network(nn.Module):
    """The network of a genotype.

    Args:
        genotype: what to build.
        classes: number of logits.
        in_channels: channels of the pictures. They may be of any size from 8x8.
        channels: channels of the first cell's nodes; None for the published number (``published_shape``).
        depth: number of cells; None for the published number, or for as many as the genotype has places.
        stem: "cifar", "cifar-half" (a quarter of the work) or "imagenet".
        auxiliary: whether to add the auxiliary head of DARTS, which runs in training mode only.
        factories: the user's own operations of the genotype, as the search space had them.
        frame: the user's own frame, as the search space had it.
        recompute: keep nothing of the inside of a cell, and compute it again in the backward pass: the same results
            for less memory and more time. The attribute of this name may be set at any time.
        backend: what computes the operations in training mode; None calls every module as it is. The attribute of
            this name may be set at any time, too.

    Raises:
        ValueError: for a genotype that no network can be built from.

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
        )
        self.cells: list[Cell] = []  # those of the frame, whose parts they are
        self.frame = build_frame(sizes, lambda place: listed(self.cells, fixed_cell(genotype, place, factories)))

    def forward(self, x: Tensor, drop_path: float = 0.0, generator: torch.Generator | None = None) -> Output:
        """Logits of pictures ``(B, in_channels, H, W)``.

        Args:
            x: the pictures.
            drop_path: in training mode, how likely each picture loses each connection that is not the identity
                (DARTS; FractalNet, Larsson et al., 2017); what stays is divided by ``1 - drop_path``.
            generator: where the dropped connections are drawn from, on any device; torch's own if None.
        """
        factors = self._factors(x, drop_path if self.training else 0.0, generator)
        backend = usable(self.backend, as_weights(self, x))

        found: Output = self.frame(x, runner(factors.__getitem__, backend, recompute=self.recompute))
        return found

    def _factors(self, x: Tensor, drop_path: float, generator: torch.Generator | None) -> dict[Cell, Factors]:
        """For each cell, what each of its edges is multiplied by."""
        # All at once: one draw and one copy to the device a step, not one a connection.
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
        kept.bernoulli_(1 - drop_path, generator=generator)
        return (kept / (1 - drop_path)).to(x.device).unbind()


def parameters_of(network: nn.Module, *, auxiliary: bool = False) -> int:
    """Number of parameters, without the auxiliary head unless asked for: papers do not count it."""
    named = network.named_parameters()
    return sum(weight.numel() for name, weight in named if auxiliary or not name.startswith("frame.auxiliary."))
