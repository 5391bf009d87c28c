"""The steps of a program that normalize and mix, and their gradients, for Numba."""

from __future__ import annotations

import numpy as np

from diffnas.backends.cpu.kernels import sums as mixing
from diffnas.backends.cpu.kernels.address import address_of, floats
from diffnas.backends.cpu.kernels.branches import Branch
from diffnas.backends.cpu.kernels.buffer import Floats, Table, filled
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.memory import (
    ADDED,
    EPS,
    GAIN,
    MEAN,
    RATE,
    SHIFT,
    SLOPE,
    VARIANCE,
    Memory,
    branches_of,
    by_picture,
    stage_at,
    term,
)

TERM = 8
"""Numbers of a term of ``norm_backward``."""

SHARES = Branch._fields.index("shares")


@part
def measure(step: Table, lists: Table, memory: Memory, B: int) -> None:
    """Compute the statistics of batch norms from those of single pictures.

    A branch has seven numbers: its slot; whether it is normalized; the tensors of its batch norm's weight and bias; and
    the places of its center, its rate and its offset among the factors, or -1. Without a batch norm, center, rate and
    offset are 0, 1 and 0.
    """
    at, pixels, C, branch, count = term(step, 1)
    mean, variance = mixing.joined(*by_picture(memory, at, count, B, C), pixels)
    for k in range(count):
        slot, normed, gain, added, center = term(lists, branch + 7 * k)
        rate, offset = lists[branch + 7 * k + 5], lists[branch + 7 * k + 6]
        _affine(memory, GAIN, slot, C, memory.at[gain])
        _affine(memory, ADDED, slot, C, memory.at[added])
        for c in range(C):
            scale = 1 / np.sqrt(variance[k, c] + EPS)
            memory.known[VARIANCE, slot, c] = variance[k, c]
            if normed:
                memory.known[MEAN, slot, c], memory.known[RATE, slot, c] = mean[k, c], scale
            if center >= 0:
                known = memory.known[:, slot, c]
                memory.factors[center + c] = np.float32(known[MEAN])
                memory.factors[rate + c] = np.float32(known[RATE] * known[GAIN])
                memory.factors[offset + c] = np.float32(known[ADDED])


@part
def _affine(memory: Memory, which: int, slot: int, C: int, address: int) -> None:
    """Remember a batch norm's weight or bias, if there is one."""
    if address:
        for c in range(C):
            memory.known[which, slot, c] = floats(address, C)[c]


@part
def weigh(step: Table, lists: Table, memory: Memory) -> None:
    """Write the scale and the offset of each tensor that is mixed.

    A term has four numbers: its slot; its place among the mixing weights, or -1 for the weight 1; the row to write; and
    the row of its shares, or 0. With shares, its offset is written to the next row. Without, it is added to the offset
    of all terms.
    """
    terms, count, shift, _, _ = term(step, 1)
    known, scales = memory.known, memory.scales
    for c in range(scales.shape[1]):
        scales[shift, c] = 0
    for k in range(count):
        slot, place, row, shares, _ = term(lists, terms + 4 * k)
        weight = memory.mix[place] if place >= 0 else 1.0
        for c in range(scales.shape[1]):
            scales[row, c] = weight * known[RATE, slot, c] * known[GAIN, slot, c]
            added = weight * known[ADDED, slot, c] - scales[row, c] * known[MEAN, slot, c]
            if shares:
                scales[row + 1, c] = added
            else:
                scales[shift, c] += added


@part
def _read(memory: Memory, row: int, which: int, out: Floats) -> None:
    """Write a row of scales to ``out``; if ``row`` is negative, the known values ``which`` of slot ``-1 - row``."""
    for c in range(len(out)):
        out[c] = np.float32(memory.scales[row, c] if row >= 0 else memory.known[which, -1 - row, c])


@part
def mix(step: Table, lists: Table, memory: Memory, first: int, last: int) -> None:
    """Write a sum of tensors, each times its scale, with offsets and shares.

    A term has four numbers: its tensor; the row of its scales, or ``-1 - slot`` if the slope of that slot is its scale;
    the row of its shares, or 0; and the row of the offset that is added before the shares multiply, or 0.
    """
    (out, numbers, terms, count, shift), C = term(step, 1), step[6]
    inputs, added, shared = np.empty(count, np.int64), np.empty(C, np.float32), False
    scale = np.empty((count, C), np.float32)
    for k in range(count):
        tensor, row, shares, _, _ = term(lists, terms + 4 * k)
        inputs[k], shared = memory.at[tensor], shared or shares != 0
        _read(memory, row, SLOPE, scale[k])
    _read(memory, shift, SHIFT, added)
    own = np.empty((count if shared else 0, C), np.float32)
    rows = np.empty(len(own), np.int64)
    for k in range(len(own)):
        _, _, shares, row, _ = term(lists, terms + 4 * k)
        rows[k] = address_of(memory.shares[shares])
        _read(memory, row, SHIFT, own[k])
    mixing.combine(memory.at[out], inputs, scale, added, rows, own, numbers, first, last)


@part
def forget(sums: Floats, first: int, last: int) -> None:
    """Set the sums ``(B, C)`` of some pictures to zero."""
    for b in range(first, last):
        for c in range(sums.shape[1]):
            sums[b, c] = 0


@part
def reduce(step: Table, lists: Table, memory: Memory, mixed: bool, B: int, first: int, last: int) -> None:
    """The sums of a node's gradient, and of its products with what was mixed. Terms are those of ``norm_backward``."""
    (grad, numbers, terms, count, sums), C = term(step, 1), step[6]
    inputs, means, wanted = np.empty(count, np.int64), np.empty((count, C), np.float32), np.empty((1, count), np.bool_)
    for k in range(count):
        x, slot, _, normed, _ = term(lists, terms + TERM * k)
        inputs[k], wanted[0, k] = memory.at[x], normed != 0 or mixed
        _read(memory, -1 - slot, MEAN, means[k])
    totals, products = _node_sums(memory, sums, count, B, C)
    for k in range(count):
        forget(products[0, k], first, last)
    mixing.reduce(memory.at[grad : grad + 1], inputs, means, wanted, totals, products, numbers, first, last)


@part
def _node_sums(memory: Memory, at: int, count: int, B: int, C: int) -> tuple[Floats, Floats]:
    size = B * C
    return (
        memory.sums[at : at + size].reshape(1, B, C),
        memory.sums[at + size : at + (count + 1) * size].reshape(1, count, B, C),
    )


@part
def norm_backward(step: Table, lists: Table, memory: Memory, B: int) -> None:
    """Compute how the gradients of mixed tensors follow from the gradient of their node.

    A term has eight numbers: its tensor; its slot; its place among the mixing weights, or -1; whether it is normalized;
    the row for the factor of the node's gradient; the row of its shares; and the tensors of the gradients of its batch
    norm's weight and bias.
    """
    pixels, terms, count, sums, C = term(step, 1)
    totals, products = _node_sums(memory, sums, count, B, C)
    for k in range(count):
        _, slot, place, normed, row = term(lists, terms + TERM * k)
        shares, gain, added, _, _ = term(lists, terms + TERM * k + 5)
        weight, mixed = memory.mix[place] if place >= 0 else 1.0, 0.0
        for c in range(C):
            total, product = 0.0, 0.0
            for b in range(B):
                share = np.float64(memory.shares[shares, b])
                total += share * np.float64(totals[0, b, c])
                product += share * np.float64(products[0, k, b, c])
            product *= memory.known[RATE, slot, c]
            mixed += memory.known[GAIN, slot, c] * product + memory.known[ADDED, slot, c] * total
            scale = weight * memory.known[RATE, slot, c] * memory.known[GAIN, slot, c]
            # An auxiliary skip stands beside a skip: one slot, mixed twice.
            memory.scales[row, c] += scale
            if normed:
                slope = -memory.known[RATE, slot, c] * scale * product / pixels
                memory.known[SLOPE, slot, c] += slope
                memory.known[SHIFT, slot, c] -= scale * total / pixels + slope * memory.known[MEAN, slot, c]
            _learn(memory, gain, C, c, weight * product)
            _learn(memory, added, C, c, weight * total)
        if place >= 0:
            memory.grad_mix[place] = mixed


@part
def _learn(memory: Memory, tensor: int, C: int, c: int, grad: float) -> None:
    """Write the gradient for one number of a batch norm's weight or bias, if there is one."""
    if memory.at[tensor]:
        floats(memory.at[tensor], C)[c] = np.float32(grad)


@part
def gradient_terms(step: Table, lists: Table, stages: Table, memory: Memory) -> None:
    """Tell a stage how the gradients of its results follow from a node's gradient.

    A branch has three numbers: the row of its scale, its slot, and the row of its shares. A slot below zero lies
    between two links, which ``inner_backward`` handles.
    """
    stage, shape = stage_at(stages, step[1])
    K, full, table = stage.branches, filled(shape.D), branches_of(stage, memory)
    for k in range(K):
        row, slot, shares, _, _ = term(lists, step[2] + 3 * k)
        table[k, SHARES] = address_of(memory.shares[shares])
        if slot >= 0:
            at = stage.after + k * full
            for c in range(shape.D):
                memory.factors[at + c] = np.float32(memory.scales[row, c])
                memory.factors[at + K * full + c] = np.float32(memory.known[SLOPE, slot, c])
                memory.factors[at + 2 * K * full + c] = np.float32(memory.known[SHIFT, slot, c])


@part
def inner_backward(step: Table, lists: Table, stages: Table, memory: Memory) -> None:
    """Tell a stage how the gradients of its results follow from those of the inputs of the stage after it.

    It also writes the gradients for the weights and biases of the batch norms between the links.

    A branch of the stage after it has five numbers: the slot of its input; the branch that computes this input; whether
    it is normalized; and the tensors of the gradients of the batch norm between them.
    """
    (stage, shape), (before, _) = stage_at(stages, step[1]), stage_at(stages, step[2])
    totals, products = by_picture(memory, step[4], stage.branches, shape.B, shape.C)
    pixels, full = shape.B * shape.H * shape.W, filled(shape.C)
    size = before.branches * full
    for k in range(stage.branches):
        slot, branch, normed, gain, added = term(lists, step[3] + 5 * k)
        for c in range(shape.C):
            total, product = 0.0, 0.0
            for b in range(shape.B):
                total += np.float64(totals[k, b, c])
                product += np.float64(products[k, b, c])
            rate, at = memory.known[RATE, slot, c], before.after + branch * full + c
            scale, slope, shift = rate * memory.known[GAIN, slot, c], 0.0, 0.0
            if normed:
                slope = -(rate**3) * memory.known[GAIN, slot, c] * product / pixels
                shift = -scale * total / pixels - slope * memory.known[MEAN, slot, c]
            memory.factors[at] = np.float32(scale)
            memory.factors[at + size] = np.float32(slope)
            memory.factors[at + 2 * size] = np.float32(shift)
            _learn(memory, gain, shape.C, c, rate * product)
            _learn(memory, added, shape.C, c, total)
