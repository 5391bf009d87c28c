"""Selection by perturbation: an operation is worth as much as the supernet loses without it.

DARTS+PT (Wang et al., 2021). The supernet is trained as usual. Then edges are decided one by one, in random order, and
the supernet is tuned for some epochs after each decision. The values of alpha decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from diffnas.components.stages import HeldOutScore, Pause, Stage
from diffnas.components.traits import traits
from diffnas.space import SearchSpace

Criterion = Literal["accuracy", "loss"]


@traits(needs_competition=True, needs_held_out=True, needs_last=True)
def perturbation(
    space: SearchSpace,
    epochs: int,
    *,
    every: int = 5,
    lr: float = 0.0025,
    criterion: Criterion = "accuracy",
) -> tuple[Stage, ...]:
    """Two stages: training of the supernet, then selection, which decides one thing per kind of cell every few epochs.

    First each edge gets its operation. Then, in a space with an in-degree, each node gets its inputs. The selection has
    81 epochs in the space of DARTS and 25 in that of NAS-Bench-201. There the last decision comes an epoch early, as in
    the released code.

    Args:
        space: the space.
        epochs: the epochs of the training.
        every: how many epochs there are from one decision to the next.
        lr: the constant learning rate of the weights during selection. Their momentum begins at zero.
        criterion: whether the fall in accuracy decides, or the rise of the loss.

    Raises:
        ValueError: if ``every`` is below 1.

    >>> from diffnas.space import darts, nas_bench_201
    >>> [(stage.name, stage.epochs) for stage in perturbation(darts, 50)]
    [('train', 50), ('select', 81)]
    >>> perturbation(nas_bench_201, 100)[1].epochs
    25
    """
    if every < 1:
        raise ValueError(f"decisions need at least one epoch between them, not {every}.")
    most = max(len(_open(space, kind, torch.tensor(space.offered))) for kind in space.cells)
    length = max(every * (most - 1) + (1 if space.in_degree is not None else 0), 1)
    decide = partial(_decide, every=every, epochs=length, most=most, criterion=criterion)
    return (
        Stage(name="train", epochs=epochs),
        Stage(
            name="select",
            epochs=length,
            settings={"lr": lr, "lr_min": lr, "alpha_warmup": 0, "prune_warmup": 0},
            enter=_renew,
            before_epoch=decide,
            may_stop=False,
        ),
    )


def _renew(pause: Pause) -> None:
    pause.renew_weight_optimizer()


def _decide(pause: Pause, *, every: int, epochs: int, most: int, criterion: Criterion) -> None:
    """For each kind of cell, make all decisions that are due before this epoch."""
    due = most if pause.epoch == epochs - 1 else pause.epoch // every + 1
    for kind in pause.space.cells:
        while len(left := _open(pause.space, kind, pause.keep)) > most - due:
            edges = [row for what, row in left if what == "edge"]
            generator = pause.generator(f"{kind} {len(left)}")
            if edges:
                project(pause, _one_of(edges, generator), criterion=criterion)
            else:
                disconnect(pause, kind, _one_of([node for _, node in left], generator), criterion=criterion)


def _one_of(choices: Sequence[int], generator: torch.Generator) -> int:
    return choices[int(torch.randint(len(choices), (1,), generator=generator))]


def _open(space: SearchSpace, kind: str, keep: Tensor) -> list[tuple[str, int]]:
    """The decisions that are left for a kind of cell: the rows of undecided edges, then nodes with too many inputs."""
    start, graph = space.rows[kind].start, space.cells[kind]
    rows = [start + row for row in range(len(graph.edges))]
    undecided = [("edge", row) for row in rows if int(keep[row].sum()) > 1 and candidates(space, keep[row])]
    if space.in_degree is None:
        return undecided
    crowded = [
        ("node", node)
        for node in range(graph.inputs, graph.nodes)
        if sum(bool(candidates(space, keep[start + row])) for row in graph.incoming(node)) > space.in_degree
    ]
    return [*undecided, *crowded]


def candidates(space: SearchSpace, kept: Tensor) -> list[int]:
    """The columns of the operations that can win an edge; never that of ``none`` where nodes choose their inputs.

    Args:
        space: the space.
        kept: the operations in play on the edge, ``(ops,)``, bool.
    """
    columns = [int(column) for column in kept.nonzero()]
    return columns if space.in_degree is None else [column for column in columns if space.ops[column] != "none"]


def project(pause: Pause, row: int, *, criterion: Criterion = "accuracy") -> int:
    """The column of the operation that an edge gets: the one without which the supernet does worst.

    Each operation is removed in turn. The others keep their mixing weights; nothing is scaled. Of equals, the first
    wins. Then the edge keeps only the winner.
    """
    space, keep, mix = pause.space, pause.keep, pause.at_rest().mix
    columns = candidates(space, keep[row])
    measured = []
    for column in columns:
        without = mix.clone()
        without[row, column] = 0
        measured.append(pause.measure(without))
    worst = min(range(len(columns)), key=lambda index: _goodness(measured[index], criterion))
    chosen = columns[worst]
    _note(pause, row, {space.ops[column]: each for column, each in zip(columns, measured, strict=True)}, criterion)
    keep[row] = False
    keep[row, chosen] = True
    pause.decide(keep)
    return chosen


def disconnect(pause: Pause, kind: str, node: int, *, criterion: Criterion = "accuracy") -> None:
    """Remove inputs of a node until it has as many as the space allows.

    The input without which the supernet does best goes first; of equals, the last one. Each input is measured once,
    while all other inputs of the node are in place. This is the rule of the released code.
    """
    space, graph, keep, mix = pause.space, pause.space.cells[kind], pause.keep, pause.at_rest().mix
    assert space.in_degree is not None
    rows = [space.rows[kind].start + row for row in graph.incoming(node)]
    measured: dict[int, HeldOutScore] = {}
    for row in rows:
        if candidates(space, keep[row]):
            without = mix.clone()
            without[row] = 0
            measured[row] = pause.measure(without)
    while len(measured) > space.in_degree:
        best = max(measured, key=lambda row: (_goodness(measured[row], criterion), row))
        told = {str(space.edges[row][1].source): each for row, each in measured.items()}
        _note(pause, best, told, criterion)
        keep[best] = False
        del measured[best]
    pause.decide(keep)


def _goodness(measured: HeldOutScore, criterion: Criterion) -> float:
    return measured.score if criterion == "accuracy" else -measured.loss


def _note(pause: Pause, row: int, measured: dict[str, HeldOutScore], criterion: Criterion) -> None:
    kind, edge = pause.space.edges[row]
    without = {name: each.score if criterion == "accuracy" else each.loss for name, each in measured.items()}
    pause.note(what="decided", kind=kind, edge=list(edge), criterion=criterion, without=without)
