"""Checks of the values that components give to a search: see :mod:`diffnas.components.contract`.

Each function calls a component, or takes what a component gave to a method of a step or a pause. It returns that value
unchanged. If the value is wrong, it raises a ValueError that names the component and what it must give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.components import contract
from diffnas.components.contract import call, is_like, may_look, refuse, told
from diffnas.components.discretize import Discretize
from diffnas.components.family import Family
from diffnas.components.initial import Initial
from diffnas.components.level import Batch, Level
from diffnas.components.pick import Pick
from diffnas.components.pretext import TARGETS, Pretext
from diffnas.components.pruning import Pruning
from diffnas.components.regularizer import Regularizer
from diffnas.components.relaxation import Relaxation
from diffnas.components.stages import Stage, Stages
from diffnas.components.stopping import History, Stopping
from diffnas.components.update import Update
from diffnas.engine.settings import SearchSettings, merge_settings
from diffnas.genotype import Genotype
from diffnas.method import Method
from diffnas.space import SearchSpace
from diffnas.task import Task


def penalty(rule: Regularizer, at: Relaxation) -> Tensor:
    """The penalty of a regularizer, 0-d."""
    found: Any = call(contract.REGULARIZER, rule, at, given=(at.alpha, at.mix, at.open, at.keep))
    scalar = isinstance(found, Tensor) and found.shape == () and found.dtype.is_floating_point
    if not scalar or found.device != at.mix.device:
        must = f"a scalar computed from {told(at.mix)}: a tensor (), summed or averaged"
        refuse(contract.REGULARIZER, rule, must, found)
    result: Tensor = found
    if may_look(result.device, at.moment.step) and not math.isfinite(number := float(result.detach())):
        refuse(contract.REGULARIZER, rule, "a finite number", found, said=f"{number:g}")
    return result


def kept(rule: Pruning, at: Relaxation) -> Tensor:
    """The operations that a pruning rule keeps, ``(edges, ops)``, bool."""
    found: Tensor = call(contract.PRUNING, rule, at, given=(at.alpha, at.mix, at.open, at.keep))
    if not is_like(found, at.keep):
        refuse(contract.PRUNING, rule, f"what to keep, {told(at.keep)}", found)
    return found


def read_off(rule: Discretize, scores: Tensor, keep: Tensor, space: SearchSpace) -> Genotype:
    """The genotype that a rule reads off. Its cells and operations are those of the space."""
    found = call(contract.DISCRETIZE, rule, scores, keep, space, given=(scores, keep))
    must = f"a Genotype of the cells {', '.join(space.cells)} of space {space.name!r}"
    if not isinstance(found, Genotype):
        refuse(contract.DISCRETIZE, rule, must, found)
    if found.skeleton != space.skeleton or set(found.cells) != set(space.cells):
        refuse(contract.DISCRETIZE, rule, must, found, said=f"{', '.join(found.cells)} of {found.skeleton!r}")
    for kind, graph in space.cells.items():
        cell, ops = found.cells[kind], {connection.op for connection in found.cells[kind].connections}
        if (cell.inputs, cell.nodes) != (graph.inputs, graph.nodes) or not ops <= set(space.ops):
            must = f"{kind} cells of {graph.nodes} nodes, {graph.inputs} of them inputs, and of the space's operations"
            refuse(contract.DISCRETIZE, rule, must, found, said=f"{cell.nodes}, {cell.inputs} and {sorted(ops)}")
    return found


def reason(rule: Stopping, history: History, space: SearchSpace) -> str | None:
    """Why a stopping rule would stop; None if it would not."""
    found = call(contract.STOPPING, rule, history, space)
    if found is not None and not isinstance(found, str):
        refuse(contract.STOPPING, rule, "a sentence, or None to go on", found)
    return found


def picked(rule: Pick, history: History, space: SearchSpace, task: Task) -> int:
    """The position in the history of the epoch whose cells are the result."""
    found = call(contract.PICK, rule, history, space, task)
    if not _is_position(found, history):
        refuse(contract.PICK, rule, f"a position in the history, an int from 0 to {len(history) - 1}", found)
    return int(found)


def members(rule: Family, history: History, space: SearchSpace) -> list[int]:
    """The positions in the history of the epochs whose cells are kept beside the result."""
    found = call(contract.FAMILY, rule, history, space)
    if not isinstance(found, list | tuple) or not all(_is_position(each, history) for each in found):
        refuse(contract.FAMILY, rule, f"a list of positions in the history, ints from 0 to {len(history) - 1}", found)
    return list(found)


def _is_position(found: object, history: History) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found < len(history)


def stages(rule: Stages, space: SearchSpace, epochs: int) -> tuple[Stage, ...]:
    """The stages of a search of so many epochs, at least one."""
    found = call(contract.STAGES, rule, space, epochs)
    if not isinstance(found, tuple) or not found or not all(isinstance(each, Stage) for each in found):
        refuse(contract.STAGES, rule, "a tuple of one Stage or more", found)
    for stage in found:
        if complaint := _complaint(stage, space):
            raise ValueError(f"the stages of {contract.name_of(rule)}: stage {stage.name!r} {complaint}.")
    return found


def stages_of(method: Method, space: SearchSpace, settings: SearchSettings) -> tuple[Stage, ...]:
    """The stages of a search: those of its method, after that of the pretext if there is one."""
    found = stages(method.stages, space, settings.epochs)
    if method.pretext is None or not settings.pretext_epochs:
        return found
    # The weights go on in the first stage, so the supernet has that stage's size.
    own = {**found[0].settings, **({} if settings.pretext_lr is None else {"lr": settings.pretext_lr})}
    before = replace(
        found[0],
        name="pretext",
        epochs=settings.pretext_epochs,
        settings=own,
        enter=None,
        before_epoch=None,
        may_stop=False,
        pretext=method.pretext,
    )
    return (before, *found)


def initialize(rule: Initial, net: nn.Module, batch: Batch, generator: torch.Generator) -> str | None:
    """What an initializer says, after it has changed the weights of a net; a ValueError if one is not finite now."""
    found = call(contract.INITIAL, rule, net, batch, generator, given=batch)
    if found is not None and not isinstance(found, str):
        refuse(contract.INITIAL, rule, "a sentence, or None", found)
    wrong = next((name for name, weight in net.named_parameters() if not bool(weight.isfinite().all())), None)
    if wrong:
        raise ValueError(f"the initializer {contract.name_of(rule)} left {wrong} with numbers that are not finite.")
    return found


def pretext_batch(pretext: Pretext, pictures: Tensor, generator: torch.Generator) -> Batch:
    """What a pretext makes of pictures: pictures like them, of any size and number, and a target for each."""
    found = call(TARGETS, pretext.batch, pictures, generator, given=(pictures,))
    if not isinstance(found, tuple) or len(found) != 2 or not all(isinstance(each, Tensor) for each in found):
        refuse(TARGETS, pretext.batch, "a batch: (pictures, targets), two tensors", found)
    shown, targets = found
    if shown.dim() != 4 or not is_like(shown[:0, :, :0, :0], pictures[:0, :, :0, :0]) or len(targets) != len(shown):
        refuse(TARGETS, pretext.batch, f"pictures (B', C, H, W) with a target each, of {told(pictures)}", shown)
    return shown, targets


def _complaint(stage: Stage, space: SearchSpace) -> str | None:
    """What is wrong with a stage, None if nothing is. A stage checks its numbers itself."""
    for name in ("enter", "before_epoch"):
        act = getattr(stage, name)
        if act is not None and (not callable(act) or isinstance(act, type)):
            return f"needs a function of a pause as {name}, not {told(act)}"
    unknown = sorted(set(stage.ops or ()) - set(space.ops))
    if unknown:
        return f"begins with {unknown[0]!r}, which space {space.name!r} does not have"
    try:
        merge_settings(SearchSettings, stage.settings)
    except ValueError as error:
        return f"has impossible settings: {str(error).rstrip('.')}"
    return None


def optimizer(update: Update, groups: list[dict[str, Any]], **options: float) -> torch.optim.Optimizer:
    """The optimizer that an update makes for groups of tensors, with ``options`` of the update."""
    if not contract.takes(contract.UPDATE, update, *options):
        raise ValueError(
            f"the settings ask for another rate of alpha, but the update {contract.name_of(update)} takes no "
            f"{', '.join(options)}. Leave alpha_lr and alpha_speed out."
        )
    found = call(contract.UPDATE, partial(update, **options), groups)
    asked = {id(tensor) for group in groups for tensor in group["params"]}
    moved = {id(tensor) for group in getattr(found, "param_groups", ()) for tensor in group["params"]}
    if not isinstance(found, torch.optim.Optimizer) or not asked <= moved:
        refuse(contract.UPDATE, update, "a torch.optim.Optimizer of all tensors that it is given", found)
    return found


def take_step(level: Level, step: Any) -> None:
    """Call the step of a level. Its exceptions get no note, because most come from the methods of ``step``."""
    called: Callable[[Any], object] = level.step
    _nothing(contract.LEVEL, called, called(step))


def act(name: str, what: Any, pause: Any) -> None:
    """Call ``what``, an act of the stage with this name, in a pause."""
    _nothing(contract.ACT, name, what(pause))


def _nothing(role: contract.Role, component: object, found: object) -> None:
    """Refuse a result other than None, above all a generator, whose code would never run."""
    if found is not None:
        refuse(role, component, "nothing", found)


def tensors(level: Level, verb: str, came: Any, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """The tensors that a level gave to the method ``verb`` of a step: one for each of ``like``, and like it."""
    if not isinstance(came, list | tuple) or len(came) != len(like):
        refuse(contract.LEVEL, level.step, f"a list of {len(like)} tensors", came, to=verb)
    for place, (each, other) in enumerate(zip(came, like, strict=True)):
        if not is_like(each, other):
            refuse(contract.LEVEL, level.step, f"{told(other)} at place {place}", each, to=verb)
    return came


def batch(level: Level, came: Any, like: Batch) -> Batch:
    """A batch that a level made itself: pictures like those of ``like``, but of any size and number, and labels."""
    if not isinstance(came, tuple) or len(came) != 2 or not all(isinstance(each, Tensor) for each in came):
        refuse(contract.LEVEL, level.step, "a batch: (pictures, labels), two tensors", came, to="the loss")
    (pictures, labels), (shown, known) = came, like
    if pictures.dim() != 4 or not is_like(pictures[:0, :, :0, :0], shown[:0, :, :0, :0]) or pictures.numel() == 0:
        must = f"pictures (B, {shown.shape[1]}, H, W) of {str(shown.dtype).removeprefix('torch.')} on {shown.device}"
        refuse(contract.LEVEL, level.step, must, pictures, to="the loss")
    wanted = known.new_empty(len(pictures), *known.shape[1:])
    if not is_like(labels, wanted):
        must = f"a label for each picture: {told(wanted)}"
        refuse(contract.LEVEL, level.step, must, labels, to="the loss")
    return came


def given_keep(stage: str, verb: str, came: Any, space: SearchSpace, *, offered: bool = False) -> Tensor:
    """The operations that a stage keeps, ``(edges, ops)``, bool, on the host.

    With ``offered``, edges must offer all of them.
    """
    like = torch.tensor(space.offered)
    if not is_like(came, like):
        refuse(contract.ACT, stage, f"what to keep, {told(like)}", came, to=verb)
    if offered and bool((came & ~like).any()):
        row, column = (int(index) for index in (came & ~like).nonzero()[0])
        kind, edge = space.edges[row]
        raise ValueError(
            f"the act of stage {stage!r} gave {verb} {space.ops[column]!r} on edge {edge.source}->{edge.target} of "
            f"{kind} cells, which does not offer it."
        )
    found: Tensor = came
    return found


def given_mix(stage: str, came: Any, space: SearchSpace) -> Tensor:
    """The mixing weights under which a stage measures the supernet, ``(edges, ops)``."""
    size = len(space.edges), len(space.ops)
    if not isinstance(came, Tensor) or came.shape != size or not came.dtype.is_floating_point:
        refuse(contract.ACT, stage, f"mixing weights, a tensor {size} of float32 or float64", came, to="measure")
    if came.device.type == "cpu" and not bool(came.isfinite().all()):
        raise ValueError(f"the act of stage {stage!r} gave measure weights that are not finite.")
    return came


def given_parents(
    stage: str, came: Any, keep: Tensor, before: Tensor, space: SearchSpace
) -> Mapping[tuple[int, int], int]:
    """The parents of new operations: from the place of a kept operation to the column of one in play on that edge.

    ``none`` cannot be a parent, because it has no module.
    """
    places = {(row, column) for row, column in keep.nonzero().tolist()}
    live = {(row, column) for row, column in before.nonzero().tolist() if space.ops[column] != "none"}
    fits = isinstance(came, Mapping) and all(
        place in places and (place[0], parent) in live for place, parent in came.items()
    )
    if not fits:
        must = "parents: from (row, column) of a kept operation to the column of one in play there, other than none"
        refuse(contract.ACT, stage, must, came, to="replace")
    found: Mapping[tuple[int, int], int] = came
    return found
