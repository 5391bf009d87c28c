"""A genotype as a network: its cells stacked, for training from scratch and for use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.genotype import Cell, Genotype
from diffnas.nets.auxiliary import AuxiliaryHead, Output
from diffnas.nets.backend import Backend, applied, usable
from diffnas.nets.ops import build
from diffnas.nets.recompute import recomputed
from diffnas.nets.skeleton import CellPlan, ResidualBlock, Stem, StemKind, as_weights, head, plan, preprocess
from diffnas.nets.slot import OpFactory, Shared, Slot
from diffnas.skeleton import Skeleton, skeleton_of


def published_shape(skeleton: str, stem: StemKind = "cifar") -> tuple[int, int]:
    """Channels and depth that published numbers stand for (DARTS, Liu et al., 2019; NAS-Bench-201).

    >>> published_shape("darts"), published_shape("darts", "imagenet"), published_shape("nas-bench-201")
    ((36, 20), (48, 14), (16, 17))
    """
    published = skeleton_of(skeleton).published
    return published.get(stem, published["cifar"])


class NetworkCell(nn.Module):
    """A cell of a genotype: every node sums its connections, the output joins nodes along channels.

    What a node that nothing feeds means is the skeleton's to say.
    """

    def __init__(
        self, cell: Cell, place: CellPlan, skeleton: Skeleton, factories: Mapping[str, OpFactory] | None = None
    ) -> None:
        super().__init__()
        self.connections = cell.effective if skeleton.drops_dead_nodes else cell.connections
        self.output = cell.joined if skeleton.drops_dead_nodes else cell.output
        self.preprocess = preprocess(skeleton, place, cell.inputs, affine=True)
        self.ops = nn.ModuleList()
        shared = [Shared() for _ in range(cell.nodes)]
        for op, source, target in self.connections:
            stride = 2 if place.reduces and source < cell.inputs else 1
            slot = Slot(width=place.channels, stride=stride, affine=True, share=shared[target])
            self.ops.append(build(op, slot, factories=factories))

    @property
    def droppable(self) -> int:
        """How many connections drop-path may drop: all but the identities."""
        return sum(not isinstance(op, nn.Identity) for op in self.ops)

    def forward(
        self, older: Tensor, newer: Tensor, masks: Sequence[Tensor] = (), backend: Backend | None = None
    ) -> Tensor:
        """The cell's output ``(B, out, H, W)``, given the outputs of the two cells before it.

        ``masks`` holds factors ``(B, 1, 1, 1)``, one for each droppable connection in turn; none to drop nothing.
        A backend computes the operations in training mode.
        """
        backend = backend if self.training else None
        following = iter(masks)
        inputs = (older, newer)[-len(self.preprocess) :]
        nodes: dict[int, Tensor] = {
            i: applied(bring, x, backend) for i, (bring, x) in enumerate(zip(self.preprocess, inputs, strict=True))
        }
        for (_, source, target), op in zip(self.connections, self.ops, strict=True):
            value = applied(op, _value(nodes, source), backend)
            if masks and not isinstance(op, nn.Identity):
                value = value * next(following).to(value.dtype)
            nodes[target] = nodes[target] + value if target in nodes else value
        joined = [_value(nodes, node) for node in self.output]
        return joined[0] if len(joined) == 1 else torch.cat(joined, dim=1)


def _value(nodes: Mapping[int, Tensor], node: int) -> Tensor:
    return nodes[node] if node in nodes else torch.zeros_like(nodes[0])


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
        recompute: bool = False,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.backend = backend
        skeleton = skeleton_of(genotype.skeleton)
        usual_channels, usual_depth = published_shape(skeleton.name, stem)
        channels = usual_channels if channels is None else channels
        depth = (genotype.depth or usual_depth) if depth is None else depth
        if genotype.depth not in (None, depth):
            raise ValueError(
                f"this genotype has a cell for each of {genotype.depth} places, and no network of {depth} cells. "
                "Leave the depth out."
            )
        places = plan(skeleton, widths_of(genotype), channels, depth, stem)
        self.stem = Stem(skeleton, stem, in_channels, channels)
        self.cells = nn.ModuleList()
        for place in places:
            if place.kind is None:
                self.cells.append(ResidualBlock(place.previous, place.channels))
            else:
                self.cells.append(NetworkCell(genotype.cells[place.kind], place, skeleton, factories))
        self.head = head(skeleton, places[-1].out, classes)
        self.auxiliary_at = 2 * depth // 3
        self.auxiliary: AuxiliaryHead | None = None
        if auxiliary and not skeleton.auxiliary:
            raise ValueError(f"the {skeleton.name!r} skeleton has no auxiliary head; build it with auxiliary=False.")
        if auxiliary:
            self.auxiliary = AuxiliaryHead(places[self.auxiliary_at].out, classes, imagenet=stem == "imagenet")

    def forward(self, x: Tensor, drop_path: float = 0.0, generator: torch.Generator | None = None) -> Output:
        """Logits of pictures ``(B, in_channels, H, W)``.

        Args:
            x: the pictures.
            drop_path: in training mode, how likely each picture loses each connection that is not the identity
                (DARTS; FractalNet, Larsson et al., 2017); what stays is divided by ``1 - drop_path``.
            generator: where the dropped connections are drawn from, on any device; torch's own if None.
        """
        x = as_weights(self, x)
        masks = self._masks(x, drop_path, generator) if self.training and drop_path else ()
        auxiliary = None
        backend = usable(self.backend, x)
        older, newer = self.stem(x)
        for index, cell in enumerate(self.cells):
            arguments: tuple[Any, ...] = (newer, backend)
            if isinstance(cell, NetworkCell):
                arguments = (older, newer, masks[: cell.droppable], backend)
                masks = masks[cell.droppable :]
            out = recomputed(cell, *arguments) if self.recompute else cell(*arguments)
            older, newer = newer, out
            if index == self.auxiliary_at and self.auxiliary is not None and self.training:
                auxiliary = self.auxiliary(newer)
        return Output(self.head(newer), auxiliary)

    def _masks(self, x: Tensor, drop_path: float, generator: torch.Generator | None) -> Sequence[Tensor]:
        # All at once: one draw and one copy to the device a step, not one a connection.
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path is a probability below 1, not {drop_path}.")
        connections = sum(cell.droppable for cell in self.cells if isinstance(cell, NetworkCell))
        device = x.device if generator is None else generator.device
        kept = torch.empty(connections, len(x), 1, 1, 1, device=device, dtype=x.dtype)
        kept.bernoulli_(1 - drop_path, generator=generator)
        return (kept / (1 - drop_path)).to(x.device).unbind()


def widths_of(genotype: Genotype) -> dict[str, int]:
    """For each kind of cell, how many nodes its output concatenates.

    Raises:
        ValueError: for a cell that passes nothing on.
    """
    if not skeleton_of(genotype.skeleton).drops_dead_nodes:
        return {kind: len(cell.output) for kind, cell in genotype.cells.items()}
    for kind, cell in genotype.cells.items():
        if not cell.joined:
            raise ValueError(
                f"the cell {kind!r} passes nothing on: no connections lead from its inputs to its output nodes "
                f"{', '.join(map(str, cell.output))}. Add a connection, or choose a genotype of another epoch."
            )
    return {kind: len(cell.joined) for kind, cell in genotype.cells.items()}


def parameters_of(network: nn.Module, *, auxiliary: bool = False) -> int:
    """Number of parameters, without the auxiliary head unless asked for: papers do not count it."""
    named = network.named_parameters()
    return sum(weight.numel() for name, weight in named if auxiliary or not name.startswith("auxiliary."))
