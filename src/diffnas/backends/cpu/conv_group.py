"""The convolutions that are computed together, and their form for :mod:`diffnas.backends.cpu.kernels.convolve`.

A *stage* has any number of branches. Each branch is a ReLU, if there is one, and then a depthwise and a 1x1
convolution, one of the two alone, or a dense convolution. Float32 on a CPU, with Numba.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from diffnas.backends.cpu.kernels import branches
from diffnas.backends.cpu.kernels import convolve as compiled
from diffnas.backends.cpu.kernels.buffer import Shape, filled
from diffnas.backends.cpu.kernels.llvm import LANES
from diffnas.backends.cpu.kernels.loops import BLOCK
from diffnas.nets.geometry import DENSE, DEPTHWISE, SEPARABLE, Geometry
from diffnas.nets.links import Pattern

TOGETHER = 4
"""The number of pictures whose weight gradients are summed by one thread, for any number of threads."""

_PLACE, _NOTHING = threading.local(), np.empty(0, np.float32)


class Layout:
    """Branches that are computed together, and the places of their weights in a list.

    Args:
        patterns: what each branch computes; all have the same stride and the same size of results.
        starts: for each branch, the index of its first weight in the list.
        joint: whether all branches read one input; if not, each has its own.
    """

    def __init__(self, patterns: Sequence[Pattern], starts: Sequence[int], *, joint: bool) -> None:
        self.geometries = [pattern.geometry for pattern in patterns]
        self.splits = [pattern.split for pattern in patterns]
        self.D, self.joint = patterns[0].channels, joint
        pairs = zip(patterns, starts, strict=True)
        self.owned = [start + n for pattern, start in pairs for n in range(pattern.modules)]
        self.reads, self.writes = _places(patterns)

    def kernel_sizes(self, size: tuple[int, ...]) -> KernelSizes:
        """What kernels need to know of the branches if their inputs have this size, ``(B, C, H, W)``."""
        (B, C, H, W), geometries = size, self.geometries
        rows, columns, stride = geometries[0].size(H), geometries[0].size(W), geometries[0].stride
        assert all((each.stride, each.size(H), each.size(W)) == (stride, rows, columns) for each in geometries)
        margin = max(geometry.margin for geometry in geometries)
        shape = Shape(B, H, W, C, rows, columns, self.D, margin, max(W, columns) + 2 * margin + BLOCK)
        table = np.zeros((len(geometries), COLUMNS), np.int64)
        for k, geometry in enumerate(geometries):
            fresh = k == 0 or not self.joint
            kind = branches.TILED if _is_tiled(geometry, shape) else geometry.kind
            table[k, :_X] = (kind, *geometry[1:], fresh)
        table[:, _SPLIT] = self.splits
        return KernelSizes(
            shape=shape,
            full=filled(C),
            full_out=filled(self.D),
            table=table,
            taps=max(geometry.kernel**2 for geometry in geometries),
            widest=max(branches.matrices_of(kind, kernel, False) for kind, kernel in table[:, :2]),
            learned=max(branches.matrices_of(kind, kernel, True) for kind, kernel in table[:, :2]),
            scratch=compiled.scratch_size(shape, int((table[:, 0] == branches.TILED).sum())),
        )


class Chains:
    """Chains that read one map, and the order of their weights.

    Args:
        patterns: for each chain, the patterns of its links. All chains have the same
            :func:`diffnas.nets.links.chain_key`, and their weights follow each other in the list.

    Attributes:
        members: the chains that have a first link, those that have a second, and so on.
        layouts: the layouts of the first links, of the second, and so on.
        patterns: the patterns.
        count: how many weights and biases there are.
        biases: the places of the biases among them.
    """

    def __init__(self, patterns: Sequence[tuple[Pattern, ...]]) -> None:
        self.patterns, places = patterns, range(max(map(len, patterns)))
        self.members = [[n for n, chain in enumerate(patterns) if place < len(chain)] for place in places]
        every = [pattern for chain in patterns for pattern in chain]
        ends = list(accumulate((pattern.tensors for pattern in every), initial=0))
        begins = iter(ends)
        starts = [[next(begins) for _ in chain] for chain in patterns]
        self.count = ends[-1]
        self.biases = [end - 1 for pattern, end in zip(every, ends[1:], strict=True) if pattern.bias]
        self.layouts = [
            Layout([patterns[n][place] for n in own], [starts[n][place] for n in own], joint=place == 0)
            for place, own in enumerate(self.members)
        ]

    def __len__(self) -> int:
        return len(self.members[0])


@dataclass(frozen=True, kw_only=True)
class ChainGroup:
    """Chains that read one map and are computed together. A *slot* is the number of a tensor.

    Attributes:
        chains: the chains.
        slots: the slots of their results.
        inner: the slots of the results of first links, for the chains that have a second, and so on.
        targets: the target nodes of the chains.
        weights: the part of the list of all weights that they own.
    """

    chains: Chains
    slots: list[int]
    inner: list[list[int]]
    targets: list[int]
    weights: slice


def groups_of(pictures: int) -> int:
    """The number of groups into which a batch is split for the weights' gradients."""
    return (pictures + TOGETHER - 1) // TOGETHER


COLUMNS = len(branches.Branch._fields)
"""Columns of the table."""
_X, _DEPTH, _Y, _GRAD, _GRAD_X, _GRAD_DEPTH, _SPLIT = (
    branches.Branch._fields.index(name) for name in ("x", "depth", "y", "grad", "grad_x", "grad_depth", "split")
)
ADDRESSES = slice(_X, _SPLIT)
"""The columns that hold addresses."""


class KernelSizes(NamedTuple):
    """The sizes that kernels need for a stage of given branches and inputs.

    Attributes:
        shape: the sizes that all branches share.
        full: channels of inputs in buffers, with padding.
        full_out: channels of results in buffers, with padding.
        table: the table of the kernels, without addresses.
        taps: taps of the largest depthwise kernel.
        widest: the most matrices ``(C, D)`` in the other weights of a branch.
        learned: the most matrices ``(C, D)`` in the gradients of these weights.
        scratch: how many numbers of scratch memory a thread needs.
    """

    shape: Shape
    full: int
    full_out: int
    table: Any
    taps: int
    widest: int
    learned: int
    scratch: int


def _is_tiled(geometry: Geometry, shape: Shape) -> bool:
    """Whether a convolution is computed by tiles, which with fewer channels is not faster and rounds more."""
    even = shape.rows % 2 == shape.columns % 2 == 0
    return geometry._replace(rectifies=True) == Geometry(DENSE, 3, 1, 1, 1) and even and min(shape.C, shape.D) >= 16


def _places(patterns: Sequence[Pattern]) -> tuple[list[int], list[int]]:
    """The places of addresses in the flattened table.

    The first list is for inputs, results and weights, the weights in the order of ``Layout.owned``. The second list is
    for the gradients of results, inputs and weights.
    """
    rows = range(0, len(patterns) * COLUMNS, COLUMNS)
    weights: list[int] = []
    for row, pattern in zip(rows, patterns, strict=True):
        # The columns are those of depthwise weights, of the others, and of those for the odd pixels.
        first = 0 if pattern.geometry.kind in (SEPARABLE, DEPTHWISE) else 1
        weights += range(row + first, row + first + pattern.modules)
    reads = [*(row + _X for row in rows), *(row + _Y for row in rows), *(_DEPTH + at for at in weights)]
    writes = [*(row + _GRAD for row in rows), *(row + _GRAD_X for row in rows), *(_GRAD_DEPTH + at for at in weights)]
    return reads, writes


def workspace(size: int) -> Any:
    """This thread's scratch memory: ``size`` numbers, aligned to a vector."""
    return thread_buffer("workspace", size)


def thread_buffer(name: str, size: int) -> Any:
    """This thread's reusable buffer; allocating a new one takes longer than the work in it."""
    memory = getattr(_PLACE, name, _NOTHING)
    if len(memory) < size:
        memory = np.empty(size + LANES, np.float32)
        memory = memory[-memory.ctypes.data // 4 % LANES :]
        setattr(_PLACE, name, memory)
    return memory[:size]
