"""Selection by perturbation: what an operation is worth is what the supernet loses without it.

DARTS+PT (Wang et al., 2021). The supernet is trained as usual; then edges are decided one by one, in random order,
and the supernet is tuned for some epochs after each decision. Alpha's size decides nothing.
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
    """The supernet's training, then the selection: a decision for each kind of cell in every so many epochs.

    First every edge gets its operation, then every node of a space with an in-degree its inputs. 81 epochs in the
    space of DARTS and 25 in that of NAS-Bench-201, whose last decision comes an epoch early, as in the released code.

    Args:
        space: the space.
        epochs: of the training.
        every: epochs from one decision to the next.
        lr: of the weights while they are tuned; it does not fall, and their momentum begins at zero.
        criterion: whether the loss of accuracy counts, or the gain in loss.

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
    """Decide as much of each kind of cell as is due before this epoch."""
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
    """The rows of a kind's edges that are undecided, then its nodes with too many inputs."""
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
    """The columns that an edge may be given; never ``none`` where nodes choose their inputs.

    Args:
        space: the space.
        kept: what is in play on the edge, ``(ops,)``, bool.
    """
    columns = [int(column) for column in kept.nonzero()]
    return columns if space.in_degree is None else [column for column in columns if space.ops[column] != "none"]


def project(pause: Pause, row: int, *, criterion: Criterion = "accuracy") -> int:
    """Give an edge the operation without which the supernet does worst, at weight 1; its column.

    Each is taken away in turn, and the others keep their weights: nothing is scaled up. Of equals, the first.
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
    """Take inputs away from a node, the most dispensable first, until it has as many as the space allows.

    That is the one without which the supernet does best; of equals, the last. Each is measured with all other inputs
    of the node in place, those that go as well: the rule of the released code.
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
