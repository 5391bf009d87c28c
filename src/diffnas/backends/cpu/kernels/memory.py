"""The memory that the steps of a program read and write, for Numba."""

from __future__ import annotations

from typing import NamedTuple

from diffnas.backends.cpu.kernels.address import address_of
from diffnas.backends.cpu.kernels.branches import Gradients, Operands
from diffnas.backends.cpu.kernels.buffer import Floats, Shape, Table, filled
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.sums import Doubles

KNOWN = 7
MEAN, VARIANCE, RATE, GAIN, ADDED, SLOPE, SHIFT = range(KNOWN)
"""Per-channel values of a slot. Its batch norm gives ``(slot - mean) * rate * gain + added``. Its gradient is
``share * scale * grad(target) + slope * slot + shift``, with the share of each picture."""

EPS = 1e-5
"""What the batch norms add to the variance."""


class Stage(NamedTuple):
    """Convolutions that are computed together, or pools of one map, or the split of a map.

    The convolutions read one map, or each reads its own. A split separates the channels that operations read from the
    rest.

    Attributes:
        row: the row of the first branch in the table.
        branches: how many convolutions or pools there are; in a split, ``one_in``: the operations read
            ``1 / one_in`` of the channels.
        taps: the taps of the largest depthwise kernel; in pools and splits, the stride.
        widest: the most matrices ``(C, D)`` that the other weights of a branch consist of.
        learned: the most matrices that the gradients for these weights consist of.
        before: the index, among the factors, of those of the batch norm of the inputs: center, rate, then what is
            added.
        after: the index of the factors of the gradients for the results: scale, slope, shift.
        packed: the index of the packed weights.
    """

    row: int
    branches: int
    taps: int
    widest: int
    learned: int
    before: int
    after: int
    packed: int


FIELDS = len(Stage._fields)


class Memory(NamedTuple):
    """What a call reads and writes, except for the scratch memory of each thread.

    Attributes:
        at: the address of each tensor.
        table: the branches of all stages, with addresses.
        known: ``(KNOWN, slots, channels)``: see ``MEAN``.
        scales: ``(N, channels)``: the factors and the offsets of tensors that are mixed; row 0 is 0, row 1 is 1.
        factors: what the kernels of stages need by channel.
        packed: the packed weights.
        sums: the sums of each picture.
        learned: the gradients for weights, of each group of pictures.
        mix: the mixing weights.
        grad_mix: the gradients for the mixing weights.
        shares: ``(N, B)``: the factor of an edge's result in each picture; the first row is 1.
    """

    at: Table
    table: Table
    known: Doubles
    scales: Doubles
    factors: Floats
    packed: Floats
    sums: Floats
    learned: Floats
    mix: Doubles
    grad_mix: Doubles
    shares: Floats


@part
def stage_at(stages: Table, n: int) -> tuple[Stage, Shape]:
    """A stage by its number."""
    s = stages[n]
    return (
        Stage(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]),
        Shape(s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15], s[16]),
    )


@part
def branches_of(stage: Stage, memory: Memory) -> Table:
    """The rows of a stage's branches."""
    return memory.table[stage.row : stage.row + stage.branches]


@part
def operands_of(stage: Stage, shape: Shape, memory: Memory) -> Operands:
    """The addresses of the operands of a stage's branches."""
    full, K = filled(shape.C), stage.branches
    deep, center = stage.taps * full, address_of(memory.factors) + 4 * stage.before
    depth = address_of(memory.packed) + 4 * stage.packed
    turned, point = depth + 4 * K * deep, depth + 8 * K * deep
    added = center + 8 * K * full
    return Operands(
        center, center + 4 * K * full, added, depth, turned, point, deep, stage.widest * full * filled(shape.D)
    )


@part
def gradients_of(stage: Stage, shape: Shape, memory: Memory, sums: int, groups: int) -> Gradients:
    """The addresses of the gradients of a stage's branches.

    ``sums`` is the index, among the sums of pictures, of the first sum of the gradients for the stage's inputs.
    """
    full, full_out, K = filled(shape.C), filled(shape.D), stage.branches
    scale, depth = address_of(memory.factors) + 4 * stage.after, address_of(memory.learned)
    totals, apart = address_of(memory.sums) + 4 * sums, 4 * K * full_out
    point = depth + 4 * groups * K * stage.taps * full
    products = totals + 4 * K * shape.B * shape.C
    learned = stage.learned * full * full_out
    return Gradients(scale, scale + apart, scale + 2 * apart, depth, point, learned, totals, products)


@part
def by_picture(memory: Memory, at: int, count: int, B: int, channels: int) -> tuple[Floats, Floats]:
    """Two sums of each picture, ``(count, B, channels)`` both."""
    size = count * B * channels
    return (
        memory.sums[at : at + size].reshape(count, B, channels),
        memory.sums[at + size : at + 2 * size].reshape(count, B, channels),
    )


@part
def term(numbers: Table, at: int) -> tuple[int, int, int, int, int]:
    """The five numbers that begin at an index. If a term is shorter, the last ones belong to the next term."""
    return numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3], numbers[at + 4]
