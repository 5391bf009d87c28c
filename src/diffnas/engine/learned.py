"""What a network shall learn, checked before the first step: a task that fits the data, and whose functions work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffnas.components.contract import Role, call, refuse
from diffnas.data import DataSet
from diffnas.engine.seeds import fixed_random
from diffnas.task import Task, classification

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
    if task == classification:
        return
    if task.name == classification.name:
        raise ValueError(
            f"{task.name!r} is the name of the task of diffnas, and this is another one. Give it a name of its own: "
            "Task(name=...)."
        )
    targets = data.train.labels[:_TRIED].cpu()
    outputs = torch.zeros(len(targets), len(data.classes), requires_grad=True)
    with fixed_random(0):
        _check_loss(call(_LOSS, task.loss, outputs, targets, given=(outputs, targets)), task)
        for metric in task.metrics.values():
            found = call(_METRIC, metric.sum, outputs.detach(), targets, given=(targets,))
            if not isinstance(found, Tensor) or found.shape != ():
                refuse(_METRIC, metric.sum, "a sum over the samples of a batch: a tensor ()", found)


def _check_loss(found: Any, task: Task) -> None:
    scalar = isinstance(found, Tensor) and found.shape == () and found.dtype.is_floating_point
    if not scalar or not found.requires_grad:
        refuse(_LOSS, task.loss, "the mean loss of a sample, which follows the outputs: a tensor () of floats", found)


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
