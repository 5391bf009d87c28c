"""A mixed cell's forward pass with the operations of a node taken together: the same values, several times faster.

The modules stay as they are; this is another way through them. What several edges have in common is done once
for each source node: the ReLU before its convolutions, and its pools with their batch norms. What leads into one
target node is normalized, weighed and added up in one step (:mod:`diffnas.nets.fused`). An operation that is of
no known make is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.nets.fused import (
    Measured,
    Statistics,
    constant,
    is_compiled,
    mixed_sums,
    runs_on_gpu,
    update_running,
)
from diffnas.nets.links import Link, Outline, is_plain_norm, outline
from diffnas.nets.links import links as read_links
from diffnas.nets.passing import Passing
from diffnas.space import CellGraph

# A function that comes without types.
_block_diagonal: Callable[..., Tensor] = torch.block_diag

# Row (edge) and column (operation) of a mixing weight.
Place = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """What has no weights, so that all edges out of a node share it: the node itself, or one kind of pool of it.

    Attributes:
        module: the pool; None for the node itself.
        places: where it stands, by target.
        norms: the batch norm of every place, if there are any.
    """

    module: nn.Module | None
    places: dict[int, Place] = field(default_factory=dict)
    norms: list[nn.BatchNorm2d] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """ReLU, convolutions and batch norm, once or twice in a row."""

    target: int
    place: Place
    links: tuple[Link, ...]


@dataclass(frozen=True, kw_only=True)
class CellSchedule:
    """The operations of a cell that are still in play, in the order in which they are taken.

    Attributes:
        shared: for each source and stride, what all edges share.
        chains: for each source, its convolutions.
        others: for each target, what is called as it is: source, place and module.
        prepare: for each input node, what prepares the value it is given, and the links of that if it has one.
    """

    shared: dict[int, list[list[_Shared]]]
    chains: dict[int, list[_Chain]]
    others: dict[int, list[tuple[int, Place, nn.Module]]]
    prepare: list[tuple[nn.Module, tuple[Link, ...] | None]]
    plans: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def is_known(self) -> bool:
        """Whether all that it consists of is of known make."""
        pools = [kind.module for strides in self.shared.values() for kinds in strides for kind in kinds]
        plain = all(module is None or _is_common_pool(module) for module in pools)
        prepared = all(links is not None or isinstance(module, nn.Identity) for module, links in self.prepare)
        return not self.others and plain and prepared


def schedule(graph: CellGraph, inputs: Iterable[nn.Module], edges: Sequence[nn.ModuleDict]) -> CellSchedule:
    """Sort the operations of a cell's edges by how they can be taken together."""
    groups: dict[int, dict[str, dict[str, _Shared]]] = {}
    chains: dict[int, list[_Chain]] = {}
    others: dict[int, list[tuple[int, Place, nn.Module]]] = {}
    for row, (edge, ops) in enumerate(zip(graph.edges, edges, strict=True)):
        for column, op in ops.items():
            place = (row, int(column))
            pool, norm = _pool(op)
            links = _even(read_links(op))
            if pool is not None:
                # Pools of one column are one pool; those of one stride give results of one size.
                stride = "1" if isinstance(pool, nn.Identity) else str(pool.stride)
                by_kind = groups.setdefault(edge.source, {}).setdefault(stride, {})
                own = None if isinstance(pool, nn.Identity) else pool
                shared = by_kind.setdefault(column, _Shared(module=own))
                shared.places[edge.target] = place
                shared.norms.extend([] if norm is None else [norm])
            elif links is not None:
                chains.setdefault(edge.source, []).append(_Chain(target=edge.target, place=place, links=links))
            else:
                others.setdefault(edge.target, []).append((edge.source, place, op))
    by_source = {source: [list(kinds.values()) for kinds in groups[source].values()] for source in groups}
    prepare = [(module, read_links(module)) for module in inputs]
    return CellSchedule(shared=by_source, chains=chains, others=others, prepare=prepare)


def is_faster(x: Tensor) -> bool:
    """Whether a training step on such pictures is known to be faster in this way: in float32, where we have kernels."""
    return by_numba(x) or (runs_on_gpu(x) and applies(x))


def by_numba(x: Tensor) -> bool:
    """Whether our kernels for a CPU apply: in float32, with Numba."""
    return is_compiled(x) and applies(x)


def applies(x: Tensor) -> bool:
    """Whether it can be done: not where autocast mixes precisions, nor while a graph is being compiled."""
    return not torch.is_autocast_enabled(x.device.type) and not torch.compiler.is_compiling()


def _even(chain: tuple[Link, ...] | None) -> tuple[Link, ...] | None:
    """Links with the same channels after each of them: those that chains are computed together of."""
    return chain if chain is not None and len({link.channels for link in chain}) == 1 else None


def _pool(op: nn.Module) -> tuple[nn.Module | None, nn.BatchNorm2d | None]:
    """A pool, or the identity, and the batch norm after it; (None, None) for anything else."""
    if type(op) in (nn.Identity, nn.MaxPool2d, nn.AvgPool2d):
        return op, None
    if type(op) is nn.Sequential and len(op) == 2 and type(op[0]) in (nn.MaxPool2d, nn.AvgPool2d):
        norm = op[1]
        if is_plain_norm(norm):
            assert isinstance(norm, nn.BatchNorm2d)
            return op[0], norm
    return None, None


class _Terms:
    """What leads into one node so far."""

    def __init__(self) -> None:
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
        (total,), statistics = mixed_sums(
            self.tensors, weights, normed=normed, added=self.added, measured=self.measured
        )
        _update(self.norms, statistics, self.measured)
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


def _update(norms: Sequence[nn.BatchNorm2d | None], statistics: Statistics, measured: Mapping[int, Measured]) -> None:
    rows = [k for k, norm in enumerate(norms) if norm is not None]
    biases = {k: known.bias for k, known in measured.items() if known.bias is not None}
    if biases:
        statistics = statistics._replace(mean=statistics.mean.clone())
        for k, bias in biases.items():
            statistics.mean[k] += bias.detach()
    update_running([norm for norm in norms if norm is not None], statistics, rows)


def cell_values(
    schedule: CellSchedule, graph: CellGraph, inputs: Sequence[Tensor], mix: Tensor, passing: Passing
) -> list[Tensor | None]:
    """The value of every node of a cell; None for a node that nothing feeds.

    Args:
        schedule: what :func:`schedule` made of the cell's edges.
        graph: the cell's graph.
        inputs: what its input nodes are made of, ``(B, C', H', W')``.
        mix: the mixing weights of its edges, ``(edges, columns)``.
        passing: what passes by the operations.
    """
    known = _whole(schedule, graph, inputs) if passing.share == 1 else None
    if known is not None:
        from diffnas.nets import whole  # needs Numba

        return whole.values(known, graph, inputs, mix)
    prepare = zip(schedule.prepare, inputs, strict=True)
    values: list[Tensor | None] = [_prepared(module, links, x) for (module, links), x in prepare]
    terms = {target: _Terms() for target in range(graph.inputs, graph.nodes)}
    seen: list[Tensor | None] = []
    for node in range(graph.nodes):
        if node >= graph.inputs:
            for source, place, op in schedule.others.get(node, []):
                value = seen[source]
                if value is not None:
                    terms[node].append(op(value), place)
            values.append(passing.join(node, terms.pop(node).total(mix)))
        value = passing.split(node, values[node])
        seen.append(value)
        if value is not None:
            for kinds in schedule.shared.get(node, []):
                _share(kinds, value, mix, terms)
            _convolve(schedule.chains.get(node, []), value, terms)
    return values


def joined(values: Sequence[Tensor]) -> Tensor:
    """Maps of one shape beside each other: the output of a cell, ``(B, K C, H, W)``."""
    if len(values) == 1:
        return values[0]
    # PyTorch refuses maps of several sizes; a kernel would read past the end.
    if not by_numba(values[0]) or len({(value.shape, value.dtype) for value in values}) > 1:
        return torch.cat(list(values), dim=1)
    from diffnas.nets import sums  # needs Numba

    return sums.joined(values)


def _whole(schedule: CellSchedule, graph: CellGraph, inputs: Sequence[Tensor]) -> Any:
    """The plan of a cell that can be taken in one step, None for another."""
    if not by_numba(inputs[0]) or not schedule.is_known:
        return None
    from diffnas.nets import cell_plan  # needs Numba

    sizes = tuple(tuple(x.shape[1:]) for x in inputs)
    if sizes not in schedule.plans:
        pools = {
            source: [[cell_plan.Pool(kind.module, kind.places, kind.norms) for kind in kinds] for kinds in strides]
            for source, strides in schedule.shared.items()
        }
        chains = {
            source: [cell_plan.Chain(chain.target, chain.place, chain.links) for chain in group]
            for source, group in schedule.chains.items()
        }
        schedule.plans[sizes] = cell_plan.plan(graph, sizes, [links for _, links in schedule.prepare], pools, chains)
    plan = schedule.plans[sizes]
    return plan if plan.is_even and any(plan.fed[node] for node in graph.output) else None


def _prepared(module: nn.Module, links: tuple[Link, ...] | None, x: Tensor) -> Tensor:
    if links is None or not by_numba(x):
        value: Tensor = module(x)
        return value
    from diffnas.nets.chains import convolve  # needs Numba

    (result,), statistics, (fold,) = convolve(x, [links])
    known = {0: Measured(statistics.mean[0], statistics.variance[0], fold, links[-1].bias)}
    (value,), _ = mixed_sums([result], torch.ones(1, 1), normed=[True], measured=known)
    _update([links[-1].norm], statistics, known)
    return value


def _share(kinds: list[_Shared], x: Tensor, mix: Tensor, terms: dict[int, _Terms]) -> None:
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
    tensors, measured = _pooled(kinds, x)
    normed = [bool(kind.norms) for kind in kinds]
    sums, statistics = mixed_sums(tensors, weights, normed=normed, measured=measured)
    for target, tensor in zip(targets, sums, strict=True):
        terms[target].added.append(tensor)
    pairs = [(norm, k) for k, kind in enumerate(kinds) for norm in kind.norms]
    update_running([norm for norm, _ in pairs], statistics, [k for _, k in pairs])


def _pooled(kinds: list[_Shared], x: Tensor) -> tuple[list[Tensor], dict[int, Measured]]:
    """The node or its pool for each kind, and what is known of them."""
    modules = [kind.module for kind in kinds]
    if not by_numba(x):
        return [x if module is None else module(x) for module in modules], {}
    from diffnas.nets.pools import pools  # needs Numba

    common = {k: module for k, module in enumerate(modules) if module is not None and _is_common_pool(module)}
    tensors = [x if module is None or k in common else module(x) for k, module in enumerate(modules)]
    if not common:
        return tensors, {}
    results, means, variances = pools(x, list(common.values()))
    measured = {}
    for k, result, mean, variance in zip(common, results, means, variances, strict=True):
        tensors[k] = result
        if kinds[k].norms:
            measured[k] = Measured(mean, variance)
    return tensors, measured


def _is_common_pool(module: nn.Module) -> bool:
    """Whether it is a pool of 3x3 pixels as NAS spaces have them."""
    if not isinstance(module, nn.MaxPool2d | nn.AvgPool2d) or module.ceil_mode:
        return False
    if (module.kernel_size, module.padding) != (3, 1) or module.stride not in (1, 2):
        return False
    if isinstance(module, nn.MaxPool2d):
        return module.dilation == 1 and not module.return_indices
    return not module.count_include_pad and not module.divisor_override


def _convolve(chains: Sequence[_Chain], x: Tensor, terms: dict[int, _Terms]) -> None:
    """Take the convolutions of a node together, and leave their results with the targets."""
    if not chains:
        return
    if runs_on_gpu(x):
        chains = _convolve_on_gpu(chains, x, terms)
    if not by_numba(x):
        for chain in chains:
            terms[chain.target].append(_through(chain.links, x), chain.place, chain.links[-1].norm)
        return
    from diffnas.nets.chains import convolve  # needs Numba

    groups: dict[Outline, list[_Chain]] = {}  # one, unless a user's operations differ from the others in shape
    for chain in chains:
        groups.setdefault(outline(chain.links, x.shape[1:]), []).append(chain)
    for group in groups.values():
        results, statistics, folds = convolve(x, [chain.links for chain in group])
        rows = zip(group, results, statistics.mean, statistics.variance, folds, strict=True)
        for chain, result, mean, variance, fold in rows:
            link = chain.links[-1]
            terms[chain.target].append(result, chain.place, link.norm, Measured(mean, variance, fold, link.bias))


def _convolve_on_gpu(chains: Sequence[_Chain], x: Tensor, terms: dict[int, _Terms]) -> list[_Chain]:
    """Take those of one make together; the chains that are left have no kernels of ours."""
    from diffnas.nets.gpu.chains import convolve, make  # needs Triton

    by_make: dict[Any, list[_Chain]] = {}
    for chain in chains:
        by_make.setdefault(make(chain.links), []).append(chain)
    left = by_make.pop(None, [])
    for group in by_make.values():
        for chain, result in zip(group, convolve(x, [chain.links for chain in group]), strict=True):
            terms[chain.target].append(result, chain.place, chain.links[-1].norm)
    return left


def _through(links: tuple[Link, ...], x: Tensor) -> Tensor:
    """The links in PyTorch, up to the last batch norm."""
    for n, link in enumerate(links):
        x = link.convolve(x) if n + 1 == len(links) else link.norm(link.convolve(x))
    return x
