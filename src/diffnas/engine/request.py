"""What a search is asked to do: refused if it cannot work, and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from diffnas.components import schedule, weighting
from diffnas.components.contract import name_of
from diffnas.components.schedule import Moment
from diffnas.components.stages import Stage
from diffnas.components.traits import traits_of
from diffnas.data import DataSet
from diffnas.engine import contract
from diffnas.engine.aim import Aim
from diffnas.engine.pictures_record import describe_data
from diffnas.engine.search_state import staged
from diffnas.engine.settings import SearchSettings, as_dict
from diffnas.method import Method, components
from diffnas.nets import own
from diffnas.space import SearchSpace, apart
from diffnas.task import Task


def laid_out(space: SearchSpace, settings: SearchSettings) -> SearchSpace:
    """The space as a search has it: with cells of their own for every place, if the settings ask for that.

    Raises:
        ValueError: if it has such cells already, for a net of another depth than is wanted.
    """
    own = space.own_depth is not None
    return apart(space, settings.depth) if own or settings.alpha_per == "cell" else space


def describe(
    data: DataSet,
    space: SearchSpace,
    method: Method,
    settings: SearchSettings,
    precision: str,
    notes: Mapping[str, Any],
    computed: Sequence[str],
    task: Task,
    aim: Aim | None = None,
) -> dict[str, Any]:
    """Everything that decides the result, and notes and how it is computed, which do not, as plain data."""
    cells = {
        kind: {
            "inputs": graph.inputs,
            "edges": [list(edge) for edge in graph.edges],
            "ops": [list(names) for names in graph.ops],
            "output": list(graph.output),
        }
        for kind, graph in space.cells.items()
    }
    return {
        "phase": "search",
        "task": task.record(),
        "space": {
            **{name: getattr(space, name) for name in ("name", "skeleton", "channels", "depth", "in_degree")},
            "ops": list(space.ops),
            "factories": list(space.factories),
            "cells": cells,
        },
        "method": {"name": method.name, **components(method)},
        "settings": as_dict(settings),
        "data": describe_data(data),
        "precision": precision,
        "notes": dict(notes),
        "computed": list(computed),
        # Only where there is one: the records of runs without a target have none.
        **({} if aim is None else {"target": aim.record()}),
    }


def check(space: SearchSpace, method: Method, settings: SearchSettings, data: DataSet) -> None:
    """Refuse what cannot work, before anything is built.

    Raises:
        ValueError: with what was given, why it cannot work, and what would.
    """
    held_back = 2 if method.level.data == "halves" else 1
    if len(data.train) < 2 * held_back:
        raise ValueError(f"{data.name} has {len(data.train)} training pictures; a search needs more.")
    _check_stages(space, method, settings)
    own.try_in_space(
        space,
        (data.channels, *data.size),
        channels=settings.channels,
        depth=settings.depth,
        stem=settings.stem,
        share=method.supernet.share,
    )
    for rule in (*method.stopping, method.pick):
        if traits_of(rule).reads_eigenvalue and not settings.eigenvalue_every:
            raise ValueError(
                f"{name_of(rule)} reads_eigenvalue: stopping by the eigenvalue needs it measured, and "
                "eigenvalue_every is 0. Add --set eigenvalue_every=2."
            )
    gated = not traits_of(method.weighting).competes
    if gated and space.in_degree is None and traits_of(method.discretize).none_wins != "never":
        raise ValueError(
            f"in space {space.name!r} {name_of(method.discretize)} lets 'none' win an edge (none_wins), and "
            f"a gate of 'none' says nothing, as {name_of(method.weighting)} declares competes=False. "
            "Read gates off by strongest-pairs:0.5, under which an edge is absent if all its gates are shut."
        )
    widest = max(sum(row) for row in space.offered)
    order = _first_order(method)
    if not order >= 1:
        raise ValueError(f"the order of entmax must be at least 1, got {order:g}; 1.5 to 3 are usual.")
    if method.pruning is not None and order > 1 and widest > 1:
        # Where the least of `widest` operations dies if all others are tied (support of entmax).
        gap = (widest - 1) ** (1 - order) / (order - 1)
        if settings.alpha_init > gap / 10:
            raise ValueError(
                f"entmax of order {order:g} over {widest} operations removes one at a gap of {gap:.2g} in alpha, and "
                f"alpha starts with a spread of {settings.alpha_init:g}: operations would die before any training. "
                f"Use a lower order, such as 3 with the usual alpha-init of 0.001, or --alpha-init {gap / 10:.1g}."
            )


def _check_stages(space: SearchSpace, method: Method, settings: SearchSettings) -> None:
    stages = contract.stages(method.stages, space, settings.epochs)
    for stage in stages:
        _check_stage(stage, space, settings)
    deeper = any(stage.deeper != 1 for stage in stages)
    if deeper and space.own_depth is not None:
        raise ValueError(
            f"in space {space.name!r} every place in the net has a cell of its own, and supernets of later stages "
            "have other places. Take --set alpha_per=kind, or --stages one."
        )


def _check_stage(stage: Stage, space: SearchSpace, settings: SearchSettings) -> None:
    try:
        staged(settings, stage, space)
    except ValueError as error:
        raise ValueError(f"{stage.name} cannot be: {error}") from None


def _first_order(method: Method) -> float:
    start = Moment(epoch=0, step=0, epochs=1, steps=1)
    if isinstance(method.weighting, weighting.LearnedEntmax):
        return method.weighting.order.item()
    bound = method.weighting if isinstance(method.weighting, partial) else partial(method.weighting)
    if bound.func is weighting.entmax:
        return schedule.value(bound.keywords.get("order", 3.0), start)
    return 1.0
