"""What a network shall learn, checked before the first step: a task that fits the data, and whose functions work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffnas.components.contract import Role, call, refuse
from diffnas.data import DataSet
from diffnas.engine.seeds import fixed_random
from diffnas.skeleton import Skeleton
from diffnas.task import TASKS, Task, classification, forecast, language

_LOSS = Role("loss", ("outputs", "targets"))
_METRIC = Role("sum of the metric", ("outputs", "targets"))
_TRIED = 2  # pictures


def check_task(task: Task, data: DataSet) -> None:
    """Refuse a task that does not fit the labels, or whose loss or metrics do not return a number of a batch.

    It may not have the name of our task either, which a later run on its folder would take in its place. Losses and
    metrics are tried on outputs of 0 and on the labels of the first pictures. Random numbers are restored.

    Raises:
        ValueError: with what was given, and what would work.
    """
    if task.several != data.several:
        raise ValueError(_mismatch(task, data))
    if task.every_step != data.in_order:
        raise ValueError(_unlike(task, data))
    if task == TASKS.get(task.name):
        return
    if task.name in TASKS:
        raise ValueError(
            f"{task.name!r} is the name of a task of diffnas, and this is another one. Give it a name of its own: "
            "Task(name=...)."
        )
    some = torch.arange(min(_TRIED, len(data.train) - data.in_order))
    targets = data.train.take(some.unsqueeze(0) if data.in_order else some)[1].cpu()
    lead = targets.shape[: 2 if data.in_order else 1]
    outputs = torch.zeros(*lead, len(data.classes), requires_grad=True)
    with fixed_random(0):
        _check_loss(call(_LOSS, task.loss, outputs, targets, given=(outputs, targets)), task)
        for metric in task.metrics.values():
            if metric.sum is None:
                continue
            found = call(_METRIC, metric.sum, outputs.detach(), targets, given=(targets,))
            if not isinstance(found, Tensor) or found.shape != ():
                refuse(_METRIC, metric.sum, "a sum over the samples of a batch: a tensor ()", found)


def task_of(data: DataSet) -> Task:
    """What is learned from a data set, unless a user says otherwise."""
    if not data.in_order:
        return classification
    return forecast if data.forecasts else language


def check_kind(skeleton: Skeleton, data: DataSet, what: str, for_sequences: str, for_pictures: str) -> None:
    """Refuse nets that cannot read the data, which are pictures or sequences.

    Args:
        skeleton: the skeleton of the nets.
        data: the data.
        what: the space or the network, for the error.
        for_sequences, for_pictures: the option that would work.

    Raises:
        ValueError: for a skeleton that cannot read the data.
    """
    has = "sequences" if data.in_steps else "pictures"
    if has not in skeleton.reads:
        way = for_sequences if data.in_steps else for_pictures
        raise ValueError(f"{what} is for {skeleton.reads[0]}, and {data.name} has {has}. Take {way}.")


def _check_loss(found: Any, task: Task) -> None:
    scalar = isinstance(found, Tensor) and found.shape == () and found.dtype.is_floating_point
    if not scalar or not found.requires_grad:
        refuse(_LOSS, task.loss, "the mean loss of a sample, which follows the outputs: a tensor () of floats", found)


def _unlike(task: Task, data: DataSet) -> str:
    if data.in_order:
        return (
            f"{data.name}: each step is predicted from those before, and the task {task.name!r} has one target a "
            "sample. Give a task with every_step=True, or leave task out."
        )
    return (
        f"{data.name}: each sample has one label, and the task {task.name!r} has a target for each step. Leave task "
        "out."
    )


def _mismatch(task: Task, data: DataSet) -> str:
    if data.several:
        return (
            f"{data.name}: a picture can be in several classes, and the task {task.name!r} learns one class a picture. "
            "Give a task with several=True: task=Task(...)."
        )
    return (
        f"{data.name}: each picture has one label, and the task {task.name!r} learns several classes a picture. Pass "
        "arrays, ((pictures, labels), (pictures, labels)), with labels of 0 and 1, (pictures, classes)."
    )
