"""Checks of what a search is asked to do, before anything is built, and its record for the run folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from diffnas.components.contract import name_of
from diffnas.components.relaxation import weigh
from diffnas.components.schedule import Moment
from diffnas.components.stages import Stage
from diffnas.components.traits import traits_of
from diffnas.components.weighting import Weighting
from diffnas.data import DataSet
from diffnas.engine import contract
from diffnas.engine.aim import Aim
from diffnas.engine.learned import check_kind
from diffnas.engine.listen import Listener
from diffnas.engine.passes import check_stream, inputs_of
from diffnas.engine.pictures_record import describe_data
from diffnas.engine.ranks import Ranks
from diffnas.engine.search_state import staged
from diffnas.engine.settings import SearchSettings, as_dict
from diffnas.method import Method, components
from diffnas.method import describe as describe_component
from diffnas.nets import own
from diffnas.nets.sites import offered
from diffnas.nets.sizes import sizes_of_space
from diffnas.skeleton import skeleton_of
from diffnas.space import SearchSpace, with_own_cells
from diffnas.task import Task


def with_cells_per_place(space: SearchSpace, settings: SearchSettings) -> SearchSpace:
    """The space of a search: if the settings ask for it, each place in the net has a cell of its own.

    Raises:
        ValueError: if the space has such cells already, but for a net whose depth differs from that in the settings.
    """
    own = space.own_depth is not None
    return with_own_cells(space, settings.depth) if own or settings.alpha_per == "cell" else space


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
    """The record of a search, as plain data.

    It holds everything that decides the result, and beside that the notes and how the search is computed.
    """
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
            **({} if space.frame is None else {"frame": name_of(space.frame)}),
            "cells": cells,
        },
        "method": {"name": method.name, **components(method)},
        "settings": as_dict(settings),
        "data": describe_data(data),
        "precision": precision,
        "notes": dict(notes),
        "computed": list(computed),
        # Without a target there is no entry, so that records from before there were targets still fit.
        **({} if aim is None else {"target": aim.record()}),
    }


def check(space: SearchSpace, method: Method, settings: SearchSettings, data: DataSet) -> None:
    """Refuse a search that cannot work, before anything is built.

    Raises:
        ValueError: with what was given, why it cannot work, and what would work.
    """
    check_data(space, data)
    held_back = 2 if method.level.data == "halves" else 1
    if len(data.train) < 2 * held_back:
        raise ValueError(
            f"{data.name} has {len(data.train)} training pictures; this search needs {2 * held_back} or more."
        )
    moving, skeleton = torch.arange(len(data.train) // held_back), skeleton_of(space.skeleton)
    check_stream(data.train, moving, settings, data.name, skeleton)
    _check_changes(space, method)
    _check_stages(space, method, settings)
    inputs = inputs_of(data, settings)
    sizes = sizes_of_space(space, len(data.classes), data.channels, **settings.sizes, **inputs)
    own.try_parts(sizes, offered(space), space.factories, data.shape, one_in=method.supernet.one_in)
    for rule in (*method.stopping, method.pick):
        if traits_of(rule).reads_eigenvalue and not settings.eigenvalue_every:
            raise ValueError(
                f"{name_of(rule)} reads the eigenvalue (reads_eigenvalue), and eigenvalue_every is 0, so that no epoch "
                "measures it. Add --set eigenvalue_every=2."
            )
    if traits_of(method.level.step).steps_as_sgd and settings.optimizer != "sgd":
        raise ValueError(
            f"the level {name_of(method.level.step)} looks ahead by a step of SGD (steps_as_sgd), and the optimizer is "
            f"{settings.optimizer}. Take --optimizer sgd, or a level without this look-ahead, such as bilevel."
        )
    gated = not traits_of(method.weighting).competes
    if gated and space.in_degree is None and traits_of(method.discretize).none_wins != "never":
        raise ValueError(
            f"in space {space.name!r} {name_of(method.discretize)} lets 'none' win an edge (none_wins), but "
            f"{name_of(method.weighting)} declares competes=False, and then the gate of 'none' means nothing. "
            "Discretize by strongest-pairs:0.5: it leaves out an edge whose gates are all shut."
        )
    _check_start(space, method, settings)
    _check_beginning(method, settings, data)


def _check_beginning(method: Method, settings: SearchSettings, data: DataSet) -> None:
    """Refuse settings of the beginning that have no effect, and a pretext that cannot learn."""
    if settings.pretext_epochs and method.pretext is None:
        raise ValueError(
            f"there are {settings.pretext_epochs} epochs of a pretext, and no pretext. Add --pretext rotation, or "
            "leave --pretext-epochs out."
        )
    if settings.alpha_keep and settings.alpha_from is None:
        raise ValueError("alpha_keep keeps the operations of another run: name it, --alpha-from RUN.")
    if method.pretext is not None and data.in_steps:
        raise ValueError(f"a pretext is learned from pictures, and {data.name} has sequences. Leave --pretext out.")
    pretext, batch = method.pretext, min(settings.batch, len(data.train))
    if pretext is not None and settings.pretext_epochs and batch < pretext.least:
        raise ValueError(
            f"the pretext {pretext.name} needs batches of {pretext.least} pictures or more, not {batch}. Take --batch "
            f"{pretext.advised}, or --pretext rotation."
        )


def tell_doubts(method: Method, settings: SearchSettings, data: DataSet, listener: Listener) -> None:
    """Tell what is doubtful about the pretext of a search."""
    pretext = method.pretext
    if pretext is None:
        return
    height, width = data.size
    if not settings.pretext_epochs:
        listener.warn(f"the pretext {pretext.name} has no epochs, so nothing is learned. Add --pretext-epochs 5.")
        return
    if settings.batch < pretext.advised:
        listener.warn(
            f"the pretext {pretext.name} compares the pictures of a batch, and {settings.batch} are few; "
            f"{pretext.advised} or more are better."
        )
    if pretext.square and height != width:
        listener.note(f"the pretext {pretext.name} sees the middle square of each picture of {height}x{width}.")


def check_data(space: SearchSpace, data: DataSet) -> None:
    """Refuse a space for other data.

    Raises:
        ValueError: if its nets cannot read the data.
    """
    skeleton, what = skeleton_of(space.skeleton), f"space {space.name!r}"
    check_kind(skeleton, data, what, "--space recurrent or transformer", "--space darts")


def _check_changes(space: SearchSpace, method: Method) -> None:
    options = method.supernet
    beside = {
        "partial channels": options.one_in > 1,
        "an auxiliary skip": options.auxiliary is not None,
        "dropped skips": options.dropout is not None,
    }
    named = ", ".join(name for name, is_there in beside.items() if is_there)
    if skeleton_of(space.skeleton).gated:
        _refuse_skips(space, method, named)
    elif skeleton_of(space.skeleton).residual and named:
        raise ValueError(
            f"method {method.name!r} has {named} in its supernet, but in space {space.name!r} a shortcut already "
            "bypasses every operation. Take --supernet plain, or another method, such as sparse or darts."
        )


def _refuse_skips(space: SearchSpace, method: Method, changes: str) -> None:
    """Refuse what a method does about skip connections in a space that can have none."""
    rules = [*method.stopping, method.pick, method.discretize, *method.regularizers]
    needing = [describe_component(rule) for rule in rules if traits_of(rule).needs_skips]
    if changes or needing:
        raise ValueError(
            f"method {method.name!r} has {', '.join(filter(None, [changes, *needing]))}, and space {space.name!r} has "
            "no skip connection: the gate of every edge passes values on, whatever its activation, so a search cannot "
            "collapse to skips. Take another method, such as sparse or darts, or leave this component out."
        )


def _check_stages(space: SearchSpace, method: Method, settings: SearchSettings) -> None:
    stages = contract.stages_of(method, space, settings)
    for stage in stages:
        _check_stage(stage, space, settings)
    deeper = any(stage.deeper != 1 for stage in stages)
    if deeper and space.own_depth is not None:
        raise ValueError(
            f"in space {space.name!r} each place in the net has a cell of its own, but the supernets of later stages "
            "are deeper and have other places. Take --set alpha_per=kind, or --stages one."
        )


def _check_stage(stage: Stage, space: SearchSpace, settings: SearchSettings) -> None:
    try:
        staged(settings, stage, space)
    except ValueError as error:
        raise ValueError(f"{stage.name} cannot run: {error}") from None


def _check_start(space: SearchSpace, method: Method, settings: SearchSettings) -> None:
    """Refuse a spread of the initial alpha that would remove operations before any training."""
    if method.pruning is None or not traits_of(method.weighting).gives_zeros:
        return
    start, widest = settings.alpha_init, max(sum(row) for row in space.offered)
    gap = _gap(method.weighting, space, 10 * start) if start and widest > 1 else None
    if gap is not None:
        raise ValueError(
            f"{describe_component(method.weighting)} over {widest} operations removes one whose alpha lies {gap:.2g} "
            f"below the others, and alpha starts with a spread of {start:g}: operations would be removed before any "
            "training. Use a less sparse weighting, such as entmax of order 3 with the usual alpha-init of 0.001, or "
            f"--alpha-init {gap / 10:.1g}."
        )


def _gap(weighting: Weighting, space: SearchSpace, most: float) -> float | None:
    """The smallest gap in alpha at which an operation weighs 0, if all others on the widest edge are tied above it.

    None if the gap is larger than ``most``.
    """
    start, weighting = Moment(epoch=0, step=0, epochs=1, steps=1), copy.deepcopy(weighting)
    keep = torch.tensor(space.offered)
    edge = int(keep.sum(dim=1).max(dim=0).indices)
    lowest = edge, int(keep[edge].nonzero()[0])

    def removed(gap: float) -> bool:
        alpha = torch.zeros(keep.shape, dtype=torch.float64)
        alpha[lowest] = -gap
        with torch.no_grad():
            return not weigh(weighting, alpha, keep.clone(), start)[lowest] > 0

    if not removed(most) or removed(0.0):
        return None
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if removed(middle) else (middle, high)
    return high


def check_shared(
    ranks: Ranks, data: DataSet, space: SearchSpace, method: Method, settings: SearchSettings, aim: Aim | None
) -> None:
    """Refuse what several ranks cannot share: small batches, in any stage, and a clock."""
    if ranks.several and aim and aim.measured:
        raise ValueError("a target of latency is measured while it is searched, in one process: leave --devices out.")
    pictures = len(data.train) // 2 if method.level.data == "halves" else len(data.train)
    for stage in contract.stages_of(method, space, settings):
        ranks.check_batch(staged(settings, stage, space).batch, pictures)
