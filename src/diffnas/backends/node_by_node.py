"""A mixed cell on a GPU, node by node: operations of one node together, the same values, several times faster.

The cell's modules stay as they are; this code computes with their weights. The operations into one target node are
normalized, weighed and summed in one step (:class:`MixedSums`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from diffnas.backends.norms import channels_last, constant
from diffnas.backends.schedule import Chain, Place, Pool, schedule
from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.cell import Cell, Factors, along_channels
from diffnas.nets.links import Link
from diffnas.nets.partial_channels import Passing


class MixedSums(Protocol):
    """Batch norm, mixing weight and sum of many operations as one step.

    With one module after the other, that takes about ten passes over memory for each operation. In one step, the batch
    norm's scale and the mixing weight are one coefficient, and every term is added directly into its target.
    """

    def __call__(
        self,
        inputs: Sequence[Tensor],
        mix: Tensor,
        *,
        norms: Sequence[Sequence[nn.BatchNorm2d]],
        added: Sequence[Tensor] = (),
    ) -> tuple[Tensor, ...]:
        """Weighted sums of tensors, each after its batch norms if it has any, which have no weight and no bias.

        The batch norms of one tensor normalize it alike, in training mode; the buffers of all are updated.

        Args:
            inputs: K tensors ``(B, C, H, W)``.
            mix: the weights of each sum, ``(T, K)``.
            norms: for each input, its batch norms.
            added: tensors that are terms of every sum, with weight 1 and without batch norm.

        Raises:
            ValueError: for tensors of several shapes, and for a batch norm of one pixel, which PyTorch refuses too.

        Returns:
            T sums, ``(B, C, H, W)``.
        """


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The functions that compute the steps of a cell.

    Attributes:
        mixed_sums: batch norm, mixing weight and sum of many tensors.
        convolve: for each chain, its result for a map before the chain's last batch norm.
        pools: the result of each pool for a map; None stands for the map itself, once for each of its readers.
        beside: concatenates maps along their channels.
    """

    mixed_sums: MixedSums
    convolve: Callable[[Tensor, Sequence[tuple[Link, ...]]], Sequence[Tensor]]
    pools: Callable[[Tensor, Sequence[nn.Module | None]], Sequence[Tensor]]
    beside: Callable[[Sequence[Tensor]], Tensor] = along_channels


def through(links: Sequence[Link], x: Tensor) -> Tensor:
    """The result of a chain of links before the last batch norm, computed by PyTorch."""
    for n, link in enumerate(links):
        x = link.convolve(x) if n + 1 == len(links) else link.norm(link.convolve(x))
    return x


class NodeByNode:
    """Computes a cell of a supernet in training mode, with the operations that it has when this object is made."""

    def __init__(self, cell: Cell, kernels: Kernels) -> None:
        self.cell, self.kernels = cell, kernels
        self.schedule = schedule(cell)
        self.places = self._places()

    def __call__(self, inputs: Sequence[Tensor], weights: EdgeWeights | Factors) -> Tensor:
        """The cell's output, ``(B, out, H, W)``."""
        assert isinstance(weights, EdgeWeights)
        return self.cell.joined(self.cell.outputs(self.values(inputs, weights)), self.kernels.beside)

    def values(self, inputs: Sequence[Tensor], weights: EdgeWeights) -> list[Tensor | None]:
        """The value of every node of the cell; None for a node that nothing feeds."""
        graph, kernels, planned = self.cell.graph, self.kernels, self.schedule
        mix, passing = Mix(weights.table, self.places), self._passing(weights)
        values: list[Tensor | None] = [module(x) for (module, _), x in zip(planned.prepare, inputs, strict=True)]
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
                    value, kept = self._share(kinds, value, mix, terms)
                    values[node] = kept if passing is None else values[node]
                self._convolve(planned.chains.get(node, []), value, terms)
        return values

    def _places(self) -> list[Places]:
        """The places of the mixing weights of each mixed sum, if something feeds every node."""
        found: list[Places] = []
        terms: dict[int, list[Place]] = {}
        for node in range(self.cell.graph.nodes):
            for _, place, _ in self.schedule.others.get(node, []):
                terms.setdefault(node, []).append(place)
            found += [_places_of(kinds) for kinds in self.schedule.pools.get(node, [])]
            for chain in self.schedule.chains.get(node, []):
                terms.setdefault(chain.target, []).append(chain.place)
        return found + [(tuple(places),) for places in terms.values()]

    def _passing(self, given: EdgeWeights) -> Passing | None:
        if self.cell.partial is None:
            return None
        assert given.passing is not None

        def add(tensors: Sequence[Tensor], weights: Tensor) -> Tensor:
            (total,) = self.kernels.mixed_sums(tensors, weights.unsqueeze(0), norms=[()] * len(tensors))
            return total

        return Passing(self.cell.graph, self.cell.partial, weights=given.passing, add=add, hold=channels_last)

    def _share(self, kinds: Sequence[Pool], x: Tensor, mix: Mix, terms: Mapping[int, _Terms]) -> tuple[Tensor, Tensor]:
        """Add the weighted sum of a node and its pools to the terms of each target that has any of them.

        Returns ``x`` twice, for its other readers, so that a kernel can add the gradients of all.
        """
        targets = _targets(kinds)
        weights = mix.rows(_places_of(kinds))
        same = [k for k, kind in enumerate(kinds) if kind.module is None]
        if len(same) > 1:  # a skip and an auxiliary skip: add their weights, and read the node once
            columns = list(weights.unbind(1))
            columns[same[0]] = torch.stack([columns[k] for k in same]).sum(0)
            left = [k for k in range(len(kinds)) if k not in same[1:]]
            kinds, weights = [kinds[k] for k in left], torch.stack([columns[k] for k in left], 1)
        first, second, *tensors = self.kernels.pools(x, [None, None, *(kind.module for kind in kinds)])
        sums = self.kernels.mixed_sums(tensors, weights, norms=[kind.norms for kind in kinds])
        for target, tensor in zip(targets, sums, strict=True):
            terms[target].added.append(tensor)
        return first, second

    def _convolve(self, chains: Sequence[Chain], x: Tensor, terms: Mapping[int, _Terms]) -> None:
        """Compute all chains of a node together, and add each result to the terms of its target."""
        results = self.kernels.convolve(x, [chain.links for chain in chains]) if chains else ()
        for chain, result in zip(chains, results, strict=True):
            terms[chain.target].append(result, chain.place, chain.links[-1].norm)


class _Terms:
    """The terms of one node's sum, as far as they are computed."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.tensors: list[Tensor] = []
        self.places: list[Place] = []
        self.norms: list[nn.BatchNorm2d | None] = []
        self.added: list[Tensor] = []

    def append(self, tensor: Tensor, place: Place, norm: nn.BatchNorm2d | None = None) -> None:
        self.tensors.append(tensor)
        self.places.append(place)
        self.norms.append(norm)

    def total(self, mix: Mix) -> Tensor | None:
        if not self.tensors and len(self.added) < 2:
            return self.added[0] if self.added else None
        if not self.tensors:
            return torch.stack(self.added).sum(0) if len(self.added) > 2 else self.added[0] + self.added[1]
        weights = mix.rows((tuple(self.places),))
        norms = [() if norm is None else (norm,) for norm in self.norms]
        (total,) = self.kernels.mixed_sums(self.tensors, weights, norms=norms, added=self.added)
        return total


Places = tuple[tuple[Place | None, ...], ...]
"""The places of the mixing weights of a mixed sum, a row for each of its sums; None for a weight of 0."""


class Mix:
    """The mixing weights of a cell, in the order in which its mixed sums take them.

    They are gathered once for all sums, because on a GPU each gathering is three launches.

    Args:
        weights: of the edges' operations, ``(edges, columns)``.
        known: the places that the mixed sums will take.
    """

    def __init__(self, weights: Tensor, known: Sequence[Places]) -> None:
        self.weights = weights
        sizes = [sum(map(len, places)) for places in known]
        every = self._gathered([place for places in known for row in places for place in row])
        parts = every.split_with_sizes(sizes)
        self.known = dict(zip(known, parts, strict=True))

    def rows(self, places: Places) -> Tensor:
        """The mixing weights at the places, with one row for each row of places; 0 where a place is None."""
        found = self.known.get(places)
        if found is None:
            found = self._gathered([place for row in places for place in row])
        return found.view(len(places), -1)

    def _gathered(self, flat: Sequence[Place | None]) -> Tensor:
        device, columns = self.weights.device, self.weights.shape[1]
        which = tuple(0 if place is None else place[0] * columns + place[1] for place in flat)
        weights = self.weights.flatten().index_select(0, constant(which, torch.int64, device))
        if None in flat:
            weights = weights.masked_fill(constant(tuple(place is None for place in flat), torch.bool, device), 0)
        return weights


def _targets(kinds: Sequence[Pool]) -> list[int]:
    return sorted({target for kind in kinds for target in kind.places})


def _places_of(kinds: Sequence[Pool]) -> Places:
    """The places of the pools of a node, a row for each target."""
    return tuple(tuple(kind.places.get(target) for kind in kinds) for target in _targets(kinds))
