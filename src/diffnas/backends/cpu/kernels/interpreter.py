"""A cell's steps, one after the other, without coming back to Python between them, for Numba.

A *program* is a table of steps, a row each: its kind, then numbers whose meaning the kind decides. Where a step needs
lists of any length, it says where they begin in one array of numbers. Tensors have numbers too: the addresses behind
them change from call to call.

Some steps handle each picture by itself, so that threads can share the pictures. The steps between these compute what
pictures have in common, such as the statistics of a batch norm.
"""

from __future__ import annotations

import numpy as np

from diffnas.backends.cpu.kernels import branches, bypass, convolve, convolve_backward, norms, pool
from diffnas.backends.cpu.kernels.address import address_of
from diffnas.backends.cpu.kernels.buffer import Floats, Table, filled
from diffnas.backends.cpu.kernels.compiler import compiled, part
from diffnas.backends.cpu.kernels.memory import Memory, branches_of, by_picture, gradients_of, operands_of, stage_at

# Kinds of steps, each with the names of its numbers.
BARRIER = 0  # nothing: all pictures are done before the next step
PACK = 1  # stage, backward
CONVOLVE = 2  # stage, sums
POOL = 3  # stage, pools, x, results, sums
MEASURE = 4  # sums, pixels, channels, branches, count
WEIGH = 5  # terms, count, shift
MIX = 6  # out, numbers, terms, count, shift, channels
REDUCE = 7  # grad, numbers, terms, count, sums, channels
NORM_BACKWARD = 8  # pixels, terms, count, sums, channels
GRADIENT_TERMS = 9  # stage, terms
CONVOLVE_BACKWARD = 10  # stage, sums
COLLECT = 11  # stage
INNER_BACKWARD = 12  # stage, stage before, terms, sums
POOL_BACKWARD = 13  # stage, pools, x, grads, out
SPLIT = 14  # stage, x, seen, rest
SPLIT_BACKWARD = 15  # stage, x, seen, rest, out
JOIN = 16  # stage, mixed, rest, out
JOIN_BACKWARD = 17  # stage, grad, mixed, rest

WIDTH = 7
"""Numbers of a step."""


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
        memory: what the steps read and write.
        pictures: how many there are.
        groups: into how many groups the pictures are split; 0 in the forward pass.
        learn: whether the gradients for the weights are wanted.
        mixed: whether the gradients for the mixing weights are wanted.
        scratch: scratch memory, aligned to a vector.
        begin: the first step.
        end: one past the last.
        first: the first picture to handle; in the backward pass the first group; in ``COLLECT`` the first branch.
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
            norms.measure(step, lists, memory, pictures)
        elif kind == WEIGH:
            norms.weigh(step, lists, memory)
        elif kind == MIX:
            norms.mix(step, lists, memory, begun, ended)
        elif kind == REDUCE:
            norms.reduce(step, lists, memory, mixed, pictures, begun, ended)
        elif kind == NORM_BACKWARD:
            norms.norm_backward(step, lists, memory, pictures)
        elif kind == GRADIENT_TERMS:
            norms.gradient_terms(step, lists, stages, memory)
        elif kind == CONVOLVE_BACKWARD:
            _convolve_backward(step, stages, memory, groups, learn, scratch, first, last)
        elif kind == COLLECT:
            if learn:
                _collect(step, stages, memory, groups, first, last)
        elif kind == INNER_BACKWARD:
            norms.inner_backward(step, lists, stages, memory)
        elif kind == POOL_BACKWARD:
            _pool_backward(step, lists, stages, memory, scratch, begun, ended)
        elif SPLIT <= kind <= JOIN_BACKWARD:
            _bypass(step, stages, memory, begun, ended)


@part
def _pack(step: Table, stages: Table, memory: Memory) -> None:
    stage, shape = stage_at(stages, step[1])
    branches.pack(branches_of(stage, memory), shape, operands_of(stage, shape, memory), step[2] != 0)


@part
def _convolve(step: Table, stages: Table, memory: Memory, scratch: Floats, first: int, last: int) -> None:
    stage, shape = stage_at(stages, step[1])
    means = address_of(memory.sums) + 4 * step[2]
    squares = means + 4 * stage.branches * shape.B * shape.D
    convolve.forward(
        branches_of(stage, memory), shape, operands_of(stage, shape, memory), means, squares, address_of(scratch),
        first, last,
    )  # fmt: skip


@part
def _convolve_backward(
    step: Table, stages: Table, memory: Memory, groups: int, learn: bool, scratch: Floats, first: int, last: int
) -> None:
    stage, shape = stage_at(stages, step[1])
    end = last if last >= 0 else groups
    begun, ended = shape.B * first // groups, shape.B * end // groups
    for sums in by_picture(memory, step[2], stage.branches, shape.B, shape.C):
        for k in range(stage.branches):
            norms.forget(sums[k], begun, ended)
    convolve_backward.backward(
        branches_of(stage, memory), shape, operands_of(stage, shape, memory),
        gradients_of(stage, shape, memory, step[2], groups), groups, learn, address_of(scratch), first, end,
    )  # fmt: skip


@part
def _collect(step: Table, stages: Table, memory: Memory, groups: int, first: int, last: int) -> None:
    stage, shape = stage_at(stages, step[1])
    branches.collect(
        branches_of(stage, memory), shape, stage.taps * filled(shape.C),
        gradients_of(stage, shape, memory, 0, groups), groups, first, last if last >= 0 else stage.branches,
    )  # fmt: skip


@part
def _pool(step: Table, lists: Table, stages: Table, memory: Memory, scratch: Floats, first: int, last: int) -> None:
    stage, shape = stage_at(stages, step[1])
    K = stage.branches
    means, squares = by_picture(memory, step[5], K, shape.B, shape.D)
    pool.forward(
        lists[step[2] : step[2] + K], memory.at[step[3]], _addresses(memory, lists, step[4], K), stage.taps, shape,
        means, squares, scratch, first, last,
    )  # fmt: skip


@part
def _pool_backward(
    step: Table, lists: Table, stages: Table, memory: Memory, scratch: Floats, first: int, last: int
) -> None:
    stage, shape = stage_at(stages, step[1])
    K = stage.branches
    pool.backward(
        lists[step[2] : step[2] + K], memory.at[step[3]], _addresses(memory, lists, step[4], K), memory.at[step[5]],
        stage.taps, shape, scratch, first, last,
    )  # fmt: skip


@part
def _bypass(step: Table, stages: Table, memory: Memory, first: int, last: int) -> None:
    stage, shape = stage_at(stages, step[1])
    one_in, stride, at = stage.branches, stage.taps, memory.at
    if step[0] == SPLIT:
        bypass.split(at[step[2]], at[step[3]], at[step[4]], one_in, stride, shape, first, last)
    elif step[0] == SPLIT_BACKWARD:
        tensors = at[step[2]], at[step[3]], at[step[4]], at[step[5]]
        bypass.split_backward(*tensors, one_in, stride, shape, first, last)
    elif step[0] == JOIN:
        bypass.join(at[step[2]], at[step[3]], at[step[4]], one_in, shape, first, last)
    else:
        bypass.join_backward(at[step[2]], at[step[3]], at[step[4]], one_in, shape, first, last)


@part
def _addresses(memory: Memory, lists: Table, at: int, count: int) -> Table:
    """The addresses of the tensors whose numbers a list has."""
    places = np.empty(count, np.int64)
    for k in range(count):
        places[k] = memory.at[lists[at + k]]
    return places
