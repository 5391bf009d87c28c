"""What a network learns: the loss that trains it, and the metrics that judge it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from diffnas.run_files import LOSS

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs of a network, ``(B, ...)``, and targets, ``(B, ...)``, to the mean loss of a sample, a scalar."""


def _as_it_is(mean: float) -> float:
    return mean


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that says how good the outputs of a network are.

    Attributes:
        sum: a function of outputs, ``(B, ...)``, and targets, ``(B, ...)``, that returns a sum over the samples of a
            batch, a scalar; None for the sum of the loss.
        better: whether the higher or the lower of two values is the better one.
        value: a function from the mean of ``sum`` over all samples to the value of the metric.
        form: how a value is written, as :func:`format` takes it.

    Raises:
        ValueError: for another ``better``, or a form in which no number can be written.

    >>> import math
    >>> error = Metric(sum=lambda outputs, targets: (outputs - targets).square().sum(), better="lower", value=math.sqrt)
    >>> error.value(4.0)
    2.0
    """

    sum: Callable[[Tensor, Tensor], Tensor] | None
    better: Literal["higher", "lower"]
    value: Callable[[float], float] = _as_it_is
    form: str = ".3f"

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ValueError(f"better says which of two values wins, 'higher' or 'lower', not {self.better!r}.")
        try:
            format(0.5, self.form)
        except (TypeError, ValueError):
            raise ValueError(
                f"form says how a number is written, as format() takes it, such as '.3f' or '.1%', not {self.form!r}."
            ) from None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a network learns.

    Attributes:
        name: what a run folder calls it.
        loss: what judges a network, and trains it unless labels are smoothed.
        metrics: by name; the first one decides which of two networks is better.
        smoothed: the loss with a share, from 0 to below 1, of every target spread over all classes; None if the task
            has no such targets.
        several: whether a picture can be in several classes. Then its target says 0 or 1 for each class, targets are
            ``(B, classes)`` of float32, and a prediction is the sigmoid of each logit. Otherwise targets are ``(B,)``
            of int64, and a prediction is the softmax over the logits.
        every_step: whether each step of a sequence is a sample. Then targets are ``(B, T, ...)``.

    Raises:
        ValueError: if there is no metric, one that is called as the loss, or something else in the place of one.
    """

    name: str
    loss: Loss
    metrics: Mapping[str, Metric]
    smoothed: Callable[[Tensor, Tensor, float], Tensor] | None = None
    several: bool = False
    every_step: bool = False

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError(
                f"the task {self.name!r} has no metric. Give it one, such as metrics={{'error': Metric(...)}}."
            )
        if LOSS in self.metrics:
            raise ValueError(f"the task {self.name!r} has a metric {LOSS!r}, which is the loss. Name it otherwise.")
        if bare := [name for name, metric in self.metrics.items() if not isinstance(metric, Metric)]:
            raise ValueError(
                f"the task {self.name!r} has a {type(self.metrics[bare[0]]).__name__} as its metric {bare[0]!r}, not a "
                f"Metric. Write metrics={{{bare[0]!r}: Metric(sum=..., better='lower')}}."
            )

    def record(self) -> dict[str, Any]:
        """What a run folder says of the task: its name, and of every metric which value is better and how it is said.

        >>> classification.record()
        {'name': 'classification', 'metrics': {'accuracy': {'better': 'higher', 'form': '.2%'}}}
        """
        metrics = {name: {"better": metric.better, "form": metric.form} for name, metric in self.metrics.items()}
        return {"name": self.name, "metrics": metrics}

    @property
    def deciding(self) -> str:
        """The name of the metric that decides."""
        return next(iter(self.metrics))

    def written(self, loss: float, metrics: Mapping[str, float]) -> str:
        """A loss and the metrics in words.

        >>> classification.written(0.25, {"accuracy": 0.5})
        'loss 0.250, accuracy 50.00%'
        """
        said = [f"{name} {format(metrics[name], metric.form)}" for name, metric in self.metrics.items()]
        return ", ".join([f"loss {loss:.3f}", *said])

    def score(self, metrics: Mapping[str, float]) -> float:
        """The metric that decides, turned so that higher is better."""
        value = metrics[self.deciding]
        return value if self.metrics[self.deciding].better == "higher" else -value

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What every sample by itself adds to the metric that decides, ``(B,)``.

        >>> import torch
        >>> classification.each(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([1, 0]))
        tensor([1, 0])
        """
        metric = self.metrics[self.deciding]
        samples = zip(torch.split(outputs, 1), torch.split(targets, 1), strict=True)
        return torch.stack([(metric.sum or self.loss)(*sample) for sample in samples])

    def count(self, targets: Tensor) -> int:
        """How many samples a batch of targets has."""
        return targets.shape[0] * targets.shape[1] if self.every_step else len(targets)

    def training_loss(self, label_smoothing: float) -> Loss:
        """The loss that trains a network.

        Raises:
            ValueError: if labels are to be smoothed and the task cannot smooth them.
        """
        smoothed = self.smoothed
        if not label_smoothing:
            return self.loss
        if smoothed is None:
            raise ValueError(
                f"the task {self.name!r} cannot smooth its targets, and label_smoothing is {label_smoothing}. "
                "Take --set label_smoothing=0."
            )
        return lambda outputs, targets: smoothed(outputs, targets, label_smoothing)


def probabilities(logits: Tensor, *, several: bool) -> Tensor:
    """The probability of each class, ``(B, classes)``; each by itself if a picture can be in several classes.

    >>> probabilities(torch.zeros(1, 4), several=False), probabilities(torch.zeros(1, 2), several=True)
    (tensor([[0.2500, 0.2500, 0.2500, 0.2500]]), tensor([[0.5000, 0.5000]]))
    """
    return logits.sigmoid() if several else logits.softmax(dim=1)


def _cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    """How many samples have their highest logit at their label."""
    return (logits.argmax(dim=1) == labels).sum()


def _next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())


def _next_tokens_right(logits: Tensor, tokens: Tensor) -> Tensor:
    return _right(logits.flatten(0, 1), tokens.flatten())


def _in_bits(nats: float) -> float:
    return nats / math.log(2)


def _perplexity(nats: float) -> float:
    return math.exp(min(nats, _MOST_NATS))


_MOST_NATS = 700.0  # above it, the exponential is infinite


classification = Task(
    name="classification",
    loss=_cross_entropy,
    metrics={"accuracy": Metric(sum=_right, better="higher", form=".2%")},
    smoothed=_cross_entropy,
)
"""One class of several for every sample: logits ``(B, classes)``, labels ``(B,)``; cross-entropy and accuracy."""

language = Task(
    name="language",
    loss=_next_token_loss,
    metrics={
        "perplexity": Metric(sum=None, better="lower", value=_perplexity, form=".2f"),
        "bits": Metric(sum=None, better="lower", value=_in_bits, form=".3f"),
        "accuracy": Metric(sum=_next_tokens_right, better="higher", form=".2%"),
    },
    every_step=True,
)
"""The next token of a text after each one: logits ``(B, T, vocabulary)``, tokens ``(B, T)``; cross-entropy.

Its metrics are the perplexity, the bits a token, and the share of tokens that have the highest logit."""

forecast = Task(
    name="forecast",
    loss=functional.mse_loss,
    metrics={"error": Metric(sum=None, better="lower", form=".4f")},
    every_step=True,
)
"""The next vector of a sequence after each one, ``(B, T, d)``; the mean squared error of standardized numbers."""

TASKS = {task.name: task for task in (classification, language, forecast)}
"""The tasks of diffnas by name."""
