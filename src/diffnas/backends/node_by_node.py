"""A mixed cell's forward pass with the operations of a node taken together: the same values, several times faster.

The modules stay as they are; this is another way through them. What leads into one target node is normalized, weighed
and added up in one step (:mod:`diffnas.backends.norms`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor, nn

from diffnas.backends import norms
from diffnas.backends.norms import Measured, Statistics, channels_last, constant, update_running
from diffnas.backends.schedule import Chain, Place, Pool, schedule
from diffnas.nets.cell import Cell, EdgeWeights
from diffnas.nets.links import Link
from diffnas.nets.partial_channels import Passing


class MixedSums(Protocol):
    """As :func:`diffnas.backends.norms.mixed_sums`."""

    def __call__(
        self,
        inputs: Sequence[Tensor],
        mix: Tensor,
        *,
        normed: Sequence[bool],
        added: Sequence[Tensor] = (),
        measured: Mapping[int, Measured] | None = None,
    ) -> tuple[tuple[Tensor, ...], Statistics]:
        """The sums, and the statistics of the inputs."""


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """What the steps of a cell are computed with.

    Attributes:
        mixed_sums: batch norm, mixing weight and sum of many tensors.
        convolve: puts a map through chains up to the last batch norm of each; the result, and what is known of it.
        pools: pools of a map, and what is known of them.
        prepare: what an input node is made of: its module, the links of that if it has some, and the cell's input.
        join: maps of one shape beside each other, along channels.
    """

    mixed_sums: MixedSums
    convolve: Callable[[Tensor, Sequence[tuple[Link, ...]]], Sequence[tuple[Tensor, Measured | None]]]
    pools: Callable[[Tensor, Sequence[nn.Module]], Sequence[tuple[Tensor, Measured | None]]]
    prepare: Callable[[nn.Module, tuple[Link, ...] | None, Tensor], Tensor]
    join: Callable[[Sequence[Tensor]], Tensor]


def in_pytorch(steps: ModuleType) -> Kernels:
    """Kernels that call PyTorch for all but the sums, whose steps a module gives."""

    def mixed_sums(
        inputs: Sequence[Tensor],
        mix: Tensor,
        *,
        normed: Sequence[bool],
        added: Sequence[Tensor] = (),
        measured: Mapping[int, Measured] | None = None,
    ) -> tuple[tuple[Tensor, ...], Statistics]:
        assert not measured
        return norms.mixed_sums(inputs, mix, normed=normed, added=added, steps=steps)

    return Kernels(
        mixed_sums=mixed_sums,
        convolve=lambda x, chains: [(through(chain, x), None) for chain in chains],
        pools=lambda x, modules: [(module(x), None) for module in modules],
        prepare=lambda module, links, x: module(x),
        join=lambda values: torch.cat(list(values), dim=1),
    )


def through(links: Sequence[Link], x: Tensor) -> Tensor:
    """The links in PyTorch, up to the last batch norm."""
    for n, link in enumerate(links):
        x = link.convolve(x) if n + 1 == len(links) else link.norm(link.convolve(x))
    return x


class NodeByNode:
    """A cell of a supernet in training mode, as it is now; call it with the cell's inputs and mixing weights."""

    def __init__(self, cell: Cell, kernels: Kernels) -> None:
        self.cell, self.kernels = cell, kernels
        self.schedule = schedule(cell)

    def __call__(self, inputs: Sequence[Tensor], weights: EdgeWeights) -> Tensor:
        """The cell's output, ``(B, out, H, W)``."""
        return self.cell.joined(self.cell.outputs(self.values(inputs, weights)), self.kernels.join)

    def values(self, inputs: Sequence[Tensor], weights: EdgeWeights) -> list[Tensor | None]:
        """The value of every node of the cell; None for a node that nothing feeds."""
        graph, kernels, planned = self.cell.graph, self.kernels, self.schedule
        mix, passing = weights.ops, self._passing(weights)
        prepare = zip(planned.prepare, inputs, strict=True)
        values: list[Tensor | None] = [kernels.prepare(module, links, x) for (module, links), x in prepare]
        terms = {target: _Terms(kernels) for target in range(graph.inputs, graph.nodes)}
        seen: list[Tensor | None] = []
        for node in range(graph.nodes):
            if node >= graph.inputs:
                for source, place, op in planned.others.get(node, []):
                    given = seen[source]
                    if given is not None:
                        terms[node].append(op(given), place)
                total = terms.pop(node).total(mix)
                values.append(total if passing is None else passing.join(node, total))
            value = values[node] if passing is None else passing.split(node, values[node])
            seen.append(value)
            if value is not None:
                for kinds in planned.pools.get(node, []):
                    self._share(kinds, value, mix, terms)
                self._convolve(planned.chains.get(node, []), value, terms)
        return values

    def _passing(self, given: EdgeWeights) -> Passing | None:
        if self.cell.partial is None:
            return None
        assert given.passing is not None

        def add(tensors: Sequence[Tensor], weights: Tensor) -> Tensor:
            (total,), _ = self.kernels.mixed_sums(tensors, weights.unsqueeze(0), normed=[False] * len(tensors))
            return total

        return Passing(self.cell.graph, self.cell.partial, weights=given.passing, add=add, hold=channels_last)

    def _share(self, kinds: Sequence[Pool], x: Tensor, mix: Tensor, terms: Mapping[int, _Terms]) -> None:
        """Mix a node and its pools once for each target that has any of them."""
        targets = sorted({target for kind in kinds for target in kind.places})
        places = [[kind.places.get(target) for kind in kinds] for target in targets]
        weights = _picked(mix, places)
        same = [k for k, kind in enumerate(kinds) if kind.module is None]
        if len(same) > 1:  # a skip and an auxiliary skip: one look at the node for both
            columns = list(weights.unbind(1))
            columns[same[0]] = torch.stack([columns[k] for k in same]).sum(0)
            left = [k for k in range(len(kinds)) if k not in same[1:]]
            kinds, weights = [kinds[k] for k in left], torch.stack([columns[k] for k in left], 1)
        tensors, measured = self._pooled(kinds, x)
        normed = [bool(kind.norms) for kind in kinds]
        sums, statistics = self.kernels.mixed_sums(tensors, weights, normed=normed, measured=measured)
        for target, tensor in zip(targets, sums, strict=True):
            terms[target].added.append(tensor)
        pairs = [(norm, k) for k, kind in enumerate(kinds) for norm in kind.norms]
        update_running([norm for norm, _ in pairs], statistics, [k for _, k in pairs])

    def _pooled(self, kinds: Sequence[Pool], x: Tensor) -> tuple[list[Tensor], dict[int, Measured]]:
        """The node or its pool for each kind, and what is known of them."""
        modules = {k: kind.module for k, kind in enumerate(kinds) if kind.module is not None}
        tensors, measured = [x] * len(kinds), {}
        pooled = self.kernels.pools(x, list(modules.values())) if modules else ()
        for k, (tensor, known) in zip(modules, pooled, strict=True):
            tensors[k] = tensor
            if known is not None and kinds[k].norms:
                measured[k] = known
        return tensors, measured

    def _convolve(self, chains: Sequence[Chain], x: Tensor, terms: Mapping[int, _Terms]) -> None:
        """Take the convolutions of a node together, and leave their results with the targets."""
        results = self.kernels.convolve(x, [chain.links for chain in chains]) if chains else ()
        for chain, (result, known) in zip(chains, results, strict=True):
            terms[chain.target].append(result, chain.place, chain.links[-1].norm, known)


class _Terms:
    """What leads into one node so far."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.tensors: list[Tensor] = []
        self.places: list[Place] = []
        self.norms: list[nn.BatchNorm2d | None] = []
        self.measured: dict[int, Measured] = {}
        self.added: list[Tensor] = []

    def append(
        self, tensor: Tensor, place: Place, norm: nn.BatchNorm2d | None = None, measured: Measured | None = None
    ) -> None:
        if measured is not None:
            self.measured[len(self.tensors)] = measured
        self.tensors.append(tensor)
        self.places.append(place)
        self.norms.append(norm)

    def total(self, mix: Tensor) -> Tensor | None:
        if not self.tensors and len(self.added) < 2:
            return self.added[0] if self.added else None
        if not self.tensors:
            return torch.stack(self.added).sum(0) if len(self.added) > 2 else self.added[0] + self.added[1]
        weights = _picked(mix, [self.places])
        normed = [norm is not None for norm in self.norms]
        (total,), statistics = self.kernels.mixed_sums(
            self.tensors, weights, normed=normed, added=self.added, measured=self.measured
        )
        update_measured(self.norms, statistics, self.measured)
        return total


def _picked(mix: Tensor, places: Sequence[Sequence[Place | None]]) -> Tensor:
    """The weights at places, in rows; 0 for none."""
    flat = [place for row in places for place in row]
    which = tuple(0 if place is None else place[0] * mix.shape[1] + place[1] for place in flat)
    weights = mix.flatten().index_select(0, constant(which, torch.int64, mix.device))
    if None in flat:
        absent = constant(tuple(place is None for place in flat), torch.bool, mix.device)
        weights = weights.masked_fill(absent, 0)
    return weights.view(len(places), -1)


def update_measured(
    norms: Sequence[nn.BatchNorm2d | None], statistics: Statistics, measured: Mapping[int, Measured]
) -> None:
    """Move the running averages of the batch norms of inputs; None for an input without one.

    A bias that was left out of an input moves its running mean.
    """
    rows = [k for k, norm in enumerate(norms) if norm is not None]
    biases = {k: known.bias for k, known in measured.items() if known.bias is not None}
    if biases:
        statistics = statistics._replace(mean=statistics.mean.clone())
        for k, bias in biases.items():
            statistics.mean[k] += bias.detach()
    update_running([norm for norm in norms if norm is not None], statistics, rows)
