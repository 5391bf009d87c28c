"""A cell's steps, one after the other, without coming back to Python between them, for Numba.

A *program* is a table of steps, a row each: its kind, then numbers whose meaning the kind decides. Where a step needs
lists of any length, it says where they begin in one array of numbers. Tensors have numbers too: the addresses behind
them change from call to call.

Some steps handle pictures, each by itself, and a range of them may be left to another thread; what several pictures
have in common, such as the statistics of a batch norm, is made by the steps between.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diffnas.backends.cpu.kernels import branches, convolve, pool
from diffnas.backends.cpu.kernels import sums as mixing
from diffnas.backends.cpu.kernels.buffer import Floats, Shape, Table, filled
from diffnas.backends.cpu.kernels.compiler import compiled, part
from diffnas.backends.cpu.kernels.sums import Doubles

# Kinds of steps, each with the names of its numbers.
BARRIER = 0  # nothing: all pictures are done before the next step
PACK = 1  # stage, back
CONVOLVE = 2  # stage, sums
POOL = 3  # stage, pools, x, results, sums
MEASURE = 4  # sums, pixels, channels, branches, count
WEIGH = 5  # terms, count, shift
MIX = 6  # out, numbers, terms, count, shift
REDUCE = 7  # grad, numbers, terms, count, sums
SETTLE = 8  # pixels, terms, count, sums
FACTORS = 9  # stage, terms
CONVOLVE_BACK = 10  # stage, sums
COLLECT = 11  # stage
INNER = 12  # stage, first, terms, sums
POOL_BACK = 13  # stage, pools, x, grads, out

WIDTH = 6
"""Numbers of a step."""

MEAN, VARIANCE, RATE, SLOPE, SHIFT = range(5)
"""What is known by channel of a slot. The gradient for it is a scale times its target's, and slope times the slot, and
shift."""

EPS = 1e-5
"""What the batch norms add to the variance."""


class Stage(NamedTuple):
    """Convolutions out of one map, or each out of its own, that are computed together; or pools of one.

    Attributes:
        row: of its first branch in the table.
        branches: how many there are.
        taps: of the largest depthwise kernel; of pools, their stride.
        widest: how many matrices ``(C, D)`` the other weights of a branch are at most.
        learned: how many their gradients are.
        before: where the factors of the batch norm before the ReLU stand: center, then rate.
        after: where those of the gradients for the results stand: scale, slope, shift.
        packed: where its packed weights stand.
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
    """What a call works on, but for the memory that each thread has to itself.

    Attributes:
        at: the address of each tensor.
        table: the branches of all stages, with addresses.
        known: ``(5, slots, channels)``: see ``MEAN``.
        scales: ``(N, C)``: what tensors are multiplied by when they are mixed, and what is added; the first are 0.
        factors: what the kernels of stages need by channel.
        packed: weights.
        sums: of each picture.
        learned: weights' gradients, of each group of pictures.
        mix: the mixing weights.
        grad_mix: their gradients.
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


@compiled
def run(
    steps: Table, lists: Table, stages: Table, memory: Memory, pictures: int, groups: int, learn: bool, mixed: bool,
    scratch: Floats, begin: int, end: int, first: int, last: int,
) -> None:  # fmt: skip
    """Take the steps from ``begin`` up to ``end``.

    Args:
        steps: ``(N, WIDTH)``.
        lists: what steps refer to.
        stages: ``(S, FIELDS)`` and their sizes: :class:`Stage`, then :class:`Shape`.
        memory: what they work on.
        pictures: how many there are.
        groups: into how many groups they are split; 0 on the way there.
        learn: whether the gradients for the weights are wanted.
        mixed: whether those for the mixing weights are.
        scratch: numbers to work in, from an address that is a multiple of a vector.
        begin: the first step.
        end: one past the last.
        first: the first picture to handle; on the way back the first group; in ``COLLECT`` the first branch.
        last: one past the last of them, or -1: all, and then the steps may be of several kinds.
    """
    begun, ended = (0, pictures) if last < 0 else (first, last)
    if groups and last >= 0:
        begun, ended = pictures * first // groups, pictures * last // groups
    for n in range(begin, end):
        step = steps[n]
        kind = step[0]
        if kind == PACK:
            _pack(step, stages, memory)
        elif kind == CONVOLVE:
            _convolve(step, stages, memory, scratch, begun, ended)
        elif kind == POOL:
            _pool(step, lists, stages, memory, scratch, begun, ended)
        elif kind == MEASURE:
            _measure(step, lists, memory, pictures)
        elif kind == WEIGH:
            _weigh(step, lists, memory)
        elif kind == MIX:
            _mix(step, lists, memory, begun, ended)
        elif kind == REDUCE:
            _reduce(step, lists, memory, mixed, pictures, begun, ended)
        elif kind == SETTLE:
            _settle(step, lists, memory, pictures)
        elif kind == FACTORS:
            _factors(step, lists, stages, memory)
        elif kind == CONVOLVE_BACK:
            _convolve_back(step, stages, memory, groups, learn, scratch, first, last)
        elif kind == COLLECT:
            if learn:
                _collect(step, stages, memory, groups, first, last)
        elif kind == INNER:
            _inner(step, lists, stages, memory)
        elif kind == POOL_BACK:
            _pool_back(step, lists, stages, memory, scratch, begun, ended)


@part
def _stage(stages: Table, n: int) -> tuple[Stage, Shape]:
    s = stages[n]
    return (
        Stage(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]),
        Shape(s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15], s[16]),
    )


@part
def _rows(numbers: Floats, at: int, count: int, size: int) -> Floats:
    """Rows of so many numbers each, from a place on."""
    return numbers[at : at + count * size].reshape(count, size)


@part
def _weights(stage: Stage, shape: Shape, packed: Floats) -> tuple[Floats, Floats, Floats]:
    """The packed weights: depthwise, the same turned, and others."""
    full, full_out, K = filled(shape.C), filled(shape.D), stage.branches
    deep = stage.taps * full
    return (
        _rows(packed, stage.packed, K, deep),
        _rows(packed, stage.packed + K * deep, K, deep),
        _rows(packed, stage.packed + 2 * K * deep, K, stage.widest * full * full_out),
    )


@part
def _by_picture(memory: Memory, at: int, count: int, B: int, channels: int) -> tuple[Floats, Floats]:
    """Two sums ``(count, B, channels)`` of each picture."""
    size = count * B * channels
    return (
        memory.sums[at : at + size].reshape(count, B, channels),
        memory.sums[at + size : at + 2 * size].reshape(count, B, channels),
    )


@part
def _pack(step: Table, stages: Table, memory: Memory) -> None:
    stage, shape = _stage(stages, step[1])
    depth, turned, point = _weights(stage, shape, memory.packed)
    branches.pack(memory.table[stage.row : stage.row + stage.branches], shape, depth, turned, point, step[2] != 0)


@part
def _convolve(step: Table, stages: Table, memory: Memory, scratch: Floats, first: int, last: int) -> None:
    stage, shape = _stage(stages, step[1])
    K, full = stage.branches, filled(shape.C)
    depth, _, point = _weights(stage, shape, memory.packed)
    means, squares = _by_picture(memory, step[2], K, shape.B, shape.D)
    convolve.forward(
        memory.table[stage.row : stage.row + K], shape, _rows(memory.factors, stage.before, K, full),
        _rows(memory.factors, stage.before + K * full, K, full), depth, point, means, squares, scratch, first, last,
    )  # fmt: skip


@part
def _pool(step: Table, lists: Table, stages: Table, memory: Memory, scratch: Floats, first: int, last: int) -> None:
    stage, shape = _stage(stages, step[1])
    K = stage.branches
    means, squares = _by_picture(memory, step[5], K, shape.B, shape.D)
    pool.forward(
        lists[step[2] : step[2] + K], memory.at[step[3]], _addresses(memory, lists, step[4], K), stage.taps, shape,
        means, squares, scratch, first, last,
    )  # fmt: skip


@part
def _term(numbers: Table, at: int) -> tuple[int, int, int, int, int]:
    """Five numbers from a place on, some of which may be of what comes after."""
    return numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3], numbers[at + 4]


@part
def _addresses(memory: Memory, lists: Table, at: int, count: int) -> Table:
    """Of the tensors whose numbers a list has."""
    places = np.empty(count, np.int64)
    for k in range(count):
        places[k] = memory.at[lists[at + k]]
    return places


@part
def _measure(step: Table, lists: Table, memory: Memory, B: int) -> None:
    """Join the statistics of pictures. A branch: its slot, whether it is normalized, and where its center and its rate
    stand among the factors, or -1."""
    at, pixels, C, branch, count = _term(step, 1)
    mean, variance = mixing.joined(*_by_picture(memory, at, count, B, C), pixels)
    for k in range(count):
        slot, normed, center, rate, _ = _term(lists, branch + 4 * k)
        for c in range(C):
            scale = 1 / np.sqrt(variance[k, c] + EPS)
            memory.known[VARIANCE, slot, c] = variance[k, c]
            if normed:
                memory.known[MEAN, slot, c], memory.known[RATE, slot, c] = mean[k, c], scale
            if center >= 0:
                memory.factors[center + c], memory.factors[rate + c] = np.float32(mean[k, c]), np.float32(scale)


@part
def _weigh(step: Table, lists: Table, memory: Memory) -> None:
    """What tensors are multiplied by when they are mixed, and what is then added. A term: its slot, its place among the
    mixing weights, or -1 for one, and the row that is written."""
    terms, count, shift, _, _ = _term(step, 1)
    known, scales = memory.known, memory.scales
    for c in range(scales.shape[1]):
        scales[shift, c] = 0
    for k in range(count):
        slot, place, row, _, _ = _term(lists, terms + 3 * k)
        weight = memory.mix[place] if place >= 0 else 1.0
        for c in range(scales.shape[1]):
            scales[row, c] = weight * known[RATE, slot, c]
            scales[shift, c] -= scales[row, c] * known[MEAN, slot, c]


@part
def _read(memory: Memory, row: int, which: int, out: Floats) -> None:
    """A row of scales; below zero, counted from -1 on, what is known of a slot."""
    for c in range(len(out)):
        out[c] = np.float32(memory.scales[row, c] if row >= 0 else memory.known[which, -1 - row, c])


@part
def _mix(step: Table, lists: Table, memory: Memory, first: int, last: int) -> None:
    """Mix tensors. A term: its tensor, and a row of scales or a slot's slope."""
    out, numbers, terms, count, shift = _term(step, 1)
    C = memory.scales.shape[1]
    inputs, added = np.empty((1, count), np.int64), np.empty((1, C), np.float32)
    scale = np.empty((1, count, C), np.float32)
    for k in range(count):
        inputs[0, k] = memory.at[lists[terms + 2 * k]]
        _read(memory, lists[terms + 2 * k + 1], SLOPE, scale[0, k])
    _read(memory, shift, SHIFT, added[0])
    mixing.combine(memory.at[out : out + 1], inputs, scale, added, numbers, first, last)


@part
def _forget(sums: Floats, first: int, last: int) -> None:
    """Write zeros over those of some pictures, ``(B, C)``."""
    for b in range(first, last):
        for c in range(sums.shape[1]):
            sums[b, c] = 0


@part
def _reduce(step: Table, lists: Table, memory: Memory, mixed: bool, B: int, first: int, last: int) -> None:
    """The sums of a node's gradient, and of its products with what was mixed. Terms are those of ``SETTLE``."""
    grad, numbers, terms, count, sums = _term(step, 1)
    C = memory.scales.shape[1]
    inputs, means, wanted = np.empty(count, np.int64), np.empty((count, C), np.float32), np.empty((1, count), np.bool_)
    for k in range(count):
        x, slot, _, normed, _ = _term(lists, terms + 5 * k)
        inputs[k], wanted[0, k] = memory.at[x], normed != 0 or mixed
        _read(memory, -1 - slot, MEAN, means[k])
    totals, products = _node_sums(memory, sums, count, B, C)
    for k in range(count):
        _forget(products[0, k], first, last)
    mixing.reduce(memory.at[grad : grad + 1], inputs, means, wanted, totals, products, numbers, first, last)


@part
def _node_sums(memory: Memory, at: int, count: int, B: int, C: int) -> tuple[Floats, Floats]:
    size = B * C
    return (
        memory.sums[at : at + size].reshape(1, B, C),
        memory.sums[at + size : at + (count + 1) * size].reshape(1, count, B, C),
    )


@part
def _settle(step: Table, lists: Table, memory: Memory, B: int) -> None:
    """How the gradients of what was mixed are made of a node's. A term: its tensor, its slot, its place among the
    mixing weights or -1, whether it is normalized, and the row for what the node's gradient is multiplied by."""
    pixels, terms, count, sums, _ = _term(step, 1)
    C = memory.scales.shape[1]
    weights, normed = np.ones(count), np.empty(count, np.bool_)
    mean, rate = np.empty((count, C)), np.empty((count, C))
    for k in range(count):
        _, slot, place, is_normed, _ = _term(lists, terms + 5 * k)
        normed[k] = is_normed != 0
        for c in range(C):
            mean[k, c], rate[k, c] = memory.known[MEAN, slot, c], memory.known[RATE, slot, c]
        if place >= 0:
            weights[k] = memory.mix[place]
    totals, products = _node_sums(memory, sums, count, B, C)
    scale, slope, shift, mixed = mixing.settle(totals[0], products[0], mean, rate, weights, normed, pixels)
    for k in range(count):
        _, slot, place, _, row = _term(lists, terms + 5 * k)
        if place >= 0:
            memory.grad_mix[place] = mixed[k]
        for c in range(C):
            # An auxiliary skip stands beside a skip: one slot, mixed twice.
            memory.scales[row, c] += scale[k, c]
            memory.known[SLOPE, slot, c] += slope[k, c]
            memory.known[SHIFT, slot, c] += shift[k, c]


@part
def _factors(step: Table, lists: Table, stages: Table, memory: Memory) -> None:
    """Tell a stage what the gradients for its results are made of. A branch: the row of its scale, its slot; a slot
    below zero is between two links, and told by ``INNER``."""
    stage, shape = _stage(stages, step[1])
    K, full = stage.branches, filled(shape.D)
    for k in range(K):
        row, slot, _, _, _ = _term(lists, step[2] + 2 * k)
        if slot >= 0:
            at = stage.after + k * full
            for c in range(shape.D):
                memory.factors[at + c] = np.float32(memory.scales[row, c])
                memory.factors[at + K * full + c] = np.float32(memory.known[SLOPE, slot, c])
                memory.factors[at + 2 * K * full + c] = np.float32(memory.known[SHIFT, slot, c])


@part
def _inner(step: Table, lists: Table, stages: Table, memory: Memory) -> None:
    """The same between two links, from the sums of the second's gradients. A branch of the second stage: its input's
    slot, and which branch of the first that is from."""
    (stage, shape), (first, _) = _stage(stages, step[1]), _stage(stages, step[2])
    totals, products = _by_picture(memory, step[4], stage.branches, shape.B, shape.C)
    pixels, full = shape.B * shape.H * shape.W, filled(shape.C)
    size = first.branches * full
    for k in range(stage.branches):
        slot, branch, _, _, _ = _term(lists, step[3] + 2 * k)
        for c in range(shape.C):
            total, product = 0.0, 0.0
            for b in range(shape.B):
                total += np.float64(totals[k, b, c])
                product += np.float64(products[k, b, c])
            rate, at = memory.known[RATE, slot, c], first.after + branch * full + c
            slope = -(rate**3) * product / pixels
            memory.factors[at] = np.float32(rate)
            memory.factors[at + size] = np.float32(slope)
            memory.factors[at + 2 * size] = np.float32(-rate * total / pixels - slope * memory.known[MEAN, slot, c])


@part
def _learned(stage: Stage, shape: Shape, memory: Memory, groups: int) -> tuple[Floats, Floats]:
    """The gradients of a stage's weights, of each group of pictures."""
    K, deep = stage.branches, stage.taps * filled(shape.C)
    wide, size = stage.learned * filled(shape.C) * filled(shape.D), groups * K * deep
    return (
        memory.learned[:size].reshape(groups, K, deep),
        memory.learned[size : size + groups * K * wide].reshape(groups, K, wide),
    )


@part
def _convolve_back(
    step: Table, stages: Table, memory: Memory, groups: int, learn: bool, scratch: Floats, first: int, last: int
) -> None:
    stage, shape = _stage(stages, step[1])
    K, full, full_out = stage.branches, filled(shape.C), filled(shape.D)
    depth, turned, point = _weights(stage, shape, memory.packed)
    grad_depth, grad_point = _learned(stage, shape, memory, groups)
    totals, products = _by_picture(memory, step[2], K, shape.B, shape.C)
    end = last if last >= 0 else groups
    for k in range(K):
        _forget(totals[k], shape.B * first // groups, shape.B * end // groups)
        _forget(products[k], shape.B * first // groups, shape.B * end // groups)
    before, after, size = stage.before, stage.after, K * full_out
    convolve.backward(
        memory.table[stage.row : stage.row + K], shape, _rows(memory.factors, before, K, full),
        _rows(memory.factors, before + K * full, K, full), depth, turned, point,
        _rows(memory.factors, after, K, full_out), _rows(memory.factors, after + size, K, full_out),
        _rows(memory.factors, after + 2 * size, K, full_out), grad_depth, grad_point, totals, products, learn, scratch,
        first, end,
    )  # fmt: skip


@part
def _collect(step: Table, stages: Table, memory: Memory, groups: int, first: int, last: int) -> None:
    stage, shape = _stage(stages, step[1])
    table = memory.table[stage.row : stage.row + stage.branches]
    grad_depth, grad_point = _learned(stage, shape, memory, groups)
    branches.collect(table, shape, grad_depth, grad_point, first, last if last >= 0 else stage.branches)


@part
def _pool_back(
    step: Table, lists: Table, stages: Table, memory: Memory, scratch: Floats, first: int, last: int
) -> None:
    stage, shape = _stage(stages, step[1])
    K = stage.branches
    pool.backward(
        lists[step[2] : step[2] + K], memory.at[step[3]], _addresses(memory, lists, step[4], K), memory.at[step[5]],
        stage.taps, shape, scratch, first, last,
    )  # fmt: skip
