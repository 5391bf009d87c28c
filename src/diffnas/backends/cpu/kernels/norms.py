"""The steps of a program that normalize and mix, and their gradients, for Numba."""

from __future__ import annotations

import numpy as np

from diffnas.backends.cpu.kernels import sums as mixing
from diffnas.backends.cpu.kernels.buffer import Floats, Table, filled
from diffnas.backends.cpu.kernels.compiler import part
from diffnas.backends.cpu.kernels.memory import (
    EPS,
    MEAN,
    RATE,
    SHIFT,
    SLOPE,
    VARIANCE,
    Memory,
    by_picture,
    stage_at,
    term,
)


@part
def measure(step: Table, lists: Table, memory: Memory, B: int) -> None:
    """Join the statistics of pictures. A branch: its slot, whether it is normalized, and where its center and its rate
    stand among the factors, or -1."""
    at, pixels, C, branch, count = term(step, 1)
    mean, variance = mixing.joined(*by_picture(memory, at, count, B, C), pixels)
    for k in range(count):
        slot, normed, center, rate, _ = term(lists, branch + 4 * k)
        for c in range(C):
            scale = 1 / np.sqrt(variance[k, c] + EPS)
            memory.known[VARIANCE, slot, c] = variance[k, c]
            if normed:
                memory.known[MEAN, slot, c], memory.known[RATE, slot, c] = mean[k, c], scale
            if center >= 0:
                memory.factors[center + c], memory.factors[rate + c] = np.float32(mean[k, c]), np.float32(scale)


@part
def weigh(step: Table, lists: Table, memory: Memory) -> None:
    """What tensors are multiplied by when they are mixed, and what is then added. A term: its slot, its place among the
    mixing weights, or -1 for one, and the row that is written."""
    terms, count, shift, _, _ = term(step, 1)
    known, scales = memory.known, memory.scales
    for c in range(scales.shape[1]):
        scales[shift, c] = 0
    for k in range(count):
        slot, place, row, _, _ = term(lists, terms + 3 * k)
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
def mix(step: Table, lists: Table, memory: Memory, first: int, last: int) -> None:
    """Mix tensors. A term: its tensor, and a row of scales or a slot's slope."""
    (out, numbers, terms, count, shift), C = term(step, 1), step[6]
    inputs, added = np.empty((1, count), np.int64), np.empty((1, C), np.float32)
    scale = np.empty((1, count, C), np.float32)
    for k in range(count):
        inputs[0, k] = memory.at[lists[terms + 2 * k]]
        _read(memory, lists[terms + 2 * k + 1], SLOPE, scale[0, k])
    _read(memory, shift, SHIFT, added[0])
    mixing.combine(memory.at[out : out + 1], inputs, scale, added, numbers, first, last)


@part
def forget(sums: Floats, first: int, last: int) -> None:
    """Write zeros over those of some pictures, ``(B, C)``."""
    for b in range(first, last):
        for c in range(sums.shape[1]):
            sums[b, c] = 0


@part
def reduce(step: Table, lists: Table, memory: Memory, mixed: bool, B: int, first: int, last: int) -> None:
    """The sums of a node's gradient, and of its products with what was mixed. Terms are those of ``norm_backward``."""
    (grad, numbers, terms, count, sums), C = term(step, 1), step[6]
    inputs, means, wanted = np.empty(count, np.int64), np.empty((count, C), np.float32), np.empty((1, count), np.bool_)
    for k in range(count):
        x, slot, _, normed, _ = term(lists, terms + 5 * k)
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
    """How the gradients of what was mixed are made of a node's. A term: its tensor, its slot, its place among the
    mixing weights or -1, whether it is normalized, and the row for what the node's gradient is multiplied by."""
    pixels, terms, count, sums, C = term(step, 1)
    weights, normed = np.ones(count), np.empty(count, np.bool_)
    mean, rate = np.empty((count, C)), np.empty((count, C))
    for k in range(count):
        _, slot, place, is_normed, _ = term(lists, terms + 5 * k)
        normed[k] = is_normed != 0
        for c in range(C):
            mean[k, c], rate[k, c] = memory.known[MEAN, slot, c], memory.known[RATE, slot, c]
        if place >= 0:
            weights[k] = memory.mix[place]
    totals, products = _node_sums(memory, sums, count, B, C)
    scale, slope, shift, mixed = mixing.norm_backward(totals[0], products[0], mean, rate, weights, normed, pixels)
    for k in range(count):
        _, slot, place, _, row = term(lists, terms + 5 * k)
        if place >= 0:
            memory.grad_mix[place] = mixed[k]
        for c in range(C):
            # An auxiliary skip stands beside a skip: one slot, mixed twice.
            memory.scales[row, c] += scale[k, c]
            memory.known[SLOPE, slot, c] += slope[k, c]
            memory.known[SHIFT, slot, c] += shift[k, c]


@part
def gradient_terms(step: Table, lists: Table, stages: Table, memory: Memory) -> None:
    """Tell a stage which terms make up the gradients for its results. A branch: the row of its scale, its slot; a slot
    below zero is between two links, and told by ``inner_backward``."""
    stage, shape = stage_at(stages, step[1])
    K, full = stage.branches, filled(shape.D)
    for k in range(K):
        row, slot, _, _, _ = term(lists, step[2] + 2 * k)
        if slot >= 0:
            at = stage.after + k * full
            for c in range(shape.D):
                memory.factors[at + c] = np.float32(memory.scales[row, c])
                memory.factors[at + K * full + c] = np.float32(memory.known[SLOPE, slot, c])
                memory.factors[at + 2 * K * full + c] = np.float32(memory.known[SHIFT, slot, c])


@part
def inner_backward(step: Table, lists: Table, stages: Table, memory: Memory) -> None:
    """The same between two links, from the sums of the second's gradients. A branch of the second stage: its input's
    slot, and which branch of the first that is from."""
    (stage, shape), (first, _) = stage_at(stages, step[1]), stage_at(stages, step[2])
    totals, products = by_picture(memory, step[4], stage.branches, shape.B, shape.C)
    pixels, full = shape.B * shape.H * shape.W, filled(shape.C)
    size = first.branches * full
    for k in range(stage.branches):
        slot, branch, _, _, _ = term(lists, step[3] + 2 * k)
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
