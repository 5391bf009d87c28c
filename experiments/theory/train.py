"""Training a cell for a few epochs and recording its loss on a fixed set of training pictures."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from cells import SETTINGS, GatedCell, Gates, Setting, rate
from torch import Tensor
from torch.nn import functional as F

from diffnas.data import load, subsample
from diffnas.data.augment import normalize
from diffnas.engine import seeds

T = TypeVar("T")
CHANNELS, BATCH, EVERY = 16, 50, 10
TRAIN, TEST, WATCHED = 2000, 1000, 500


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One cell of an experiment.

    Attributes:
        name: what the trace calls it.
        about: the values that the experiment varies, as plain data.
        gates: the weights of its operations.
        nodes: its nodes, the stem's output included.
        lr: a factor of the setting's learning rate.
    """

    name: str
    about: Mapping[str, Any]
    gates: Gates
    nodes: int
    lr: float = 1.0


class Data(NamedTuple):
    """Normalized pictures ``(pictures, 3, 32, 32)`` and their labels ``(pictures,)``."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


def pictures(data_dir: Path, seed: int) -> Data:
    """Training and test pictures of CIFAR-10, the same number of each class; every seed has other pictures."""
    data = subsample(load("cifar10", data_dir=data_dir), TRAIN, TEST, seed=seed)
    shuffled = torch.randperm(TRAIN, generator=seeds.generator(seed, "watched"))
    (x, y), (test_x, test_y) = data.train.take(shuffled), data.test.take(torch.arange(TEST))
    # Contiguous: in nets this small, channels last is the slower layout.
    x, test_x = (normalize(each, data.mean, data.std).contiguous() for each in (x, test_x))
    return Data(x, y, test_x, test_y)


class Objective:
    """The loss of a setting.

    The analyzed setting uses half the squared distance to the one-hot label minus its mean; the practical setting uses
    cross-entropy. The output at the start is subtracted (in the practical setting it is 0), so every cell starts at the
    loss 0.45 or log 10. Else a cell with large random outputs would seem fast while it merely unlearns them.
    """

    def __init__(self, net: GatedCell, setting: Setting, data: Data) -> None:
        self.net, self.squared = net, setting.analyzed
        self.start, self.test_start = outputs(net, data.x), outputs(net, data.test_x)

    def of(self, output: Tensor, start: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of outputs ``(B, classes)``."""
        learned = output - start
        if not self.squared:
            return F.cross_entropy(learned, labels)
        target = F.one_hot(labels, output.shape[1]) - 1 / output.shape[1]
        return (learned - target).square().sum(1).mean() / 2


@torch.no_grad()
def outputs(net: GatedCell, x: Tensor) -> Tensor:
    """The outputs for all of ``x``; batch norm uses the statistics of 500 pictures at a time."""
    return torch.cat([net(part) for part in x.split(500)])


def watch(arm: Arm, setting: Setting, data: Data, seed: int, epochs: int) -> dict[str, Any]:
    """A line of the trace, from training one cell.

    ``steps`` and ``loss`` are the curve. ``gradient`` is the squared norm of the gradient at the start divided by the
    loss there: how fast log loss falls at first, for a learning rate of 1. ``signal`` is the mean square of the
    readout's inputs at the start, and ``test_accuracy`` is measured after the last step. A curve ends where the loss
    becomes infinite or NaN.
    """
    begun = time.perf_counter()
    net = GatedCell(arm.gates, arm.nodes, channels=CHANNELS, setting=setting, seed=seed)
    objective = Objective(net, setting, data)
    lr = setting.lr * arm.lr
    sgd = torch.optim.SGD(net.parameters(), lr, momentum=setting.momentum, weight_decay=setting.weight_decay)

    def watched() -> float:
        with torch.no_grad():
            return float(objective.of(outputs(net, data.x[:WATCHED]), objective.start[:WATCHED], data.y[:WATCHED]))

    with torch.no_grad():
        signal = float(net.features(data.x[:WATCHED]).square().mean())
    gradient = _gradient(objective, data, sgd)
    curve, step = [(0, watched())], 0
    for epoch in range(epochs):
        for batch in seeds.epoch_order(TRAIN, BATCH, seed, epoch).split(BATCH):
            loss = objective.of(net(data.x[batch]), objective.start[batch], data.y[batch])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            step += 1
            if step % EVERY == 0:
                curve.append((step, watched()))
        if not math.isfinite(curve[-1][1]):
            break
    right = (outputs(net, data.test_x) - objective.test_start).argmax(1) == data.test_y
    finite = [(at, loss) for at, loss in curve if math.isfinite(loss)]
    return {
        "arm": arm.name,
        **arm.about,
        "setting": setting.name,
        "seed": seed,
        "lr": lr,
        "rate_inputs": rate(arm.gates, arm.nodes, "inputs"),
        "rate_chain": rate(arm.gates, arm.nodes, "chain"),
        "gates": {f"{s}-{t}": {op: round(w, 4) for op, w in ops.items()} for (s, t), ops in arm.gates.items()},
        "gradient": gradient,
        "signal": signal,
        "steps": [at for at, _ in finite],
        "loss": [round(loss, 5) for _, loss in finite],
        "diverged": len(finite) < len(curve),
        "test_accuracy": float(right.float().mean()),
        "seconds": round(time.perf_counter() - begun, 2),
    }


def _gradient(objective: Objective, data: Data, sgd: torch.optim.Optimizer) -> float:
    """The squared norm of the gradient on the recorded pictures, divided by their loss; no weight changes."""
    net = objective.net
    loss = objective.of(net(data.x[:WATCHED]), objective.start[:WATCHED], data.y[:WATCHED])
    loss.backward()
    square = sum(float(weight.grad.square().sum()) for weight in net.parameters() if weight.grad is not None)
    sgd.zero_grad()
    return square / float(loss.detach())


def parser(about: str | None, default_seeds: Iterable[int]) -> argparse.ArgumentParser:
    """The command line of an experiment."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True, help="the folder that holds the files of CIFAR-10")
    made.add_argument("--seeds", nargs="+", type=int, default=list(default_seeds))
    made.add_argument("--out", type=Path, required=True, help="the folder of the trace")
    made.add_argument("--epochs", type=int, default=None, help="shorter than the experiment's own, to try it out")
    return made


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a trace; empty if the file does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(arms: Iterable[Arm], given: argparse.Namespace, trace: str) -> list[dict[str, Any]]:
    """Train all arms in both settings from all seeds; each adds a line to the trace, unless the line is there."""
    return each(
        given,
        trace,
        {
            (arm.name, setting.name): lambda data, seed, arm=arm, setting=setting: watch(
                arm, setting, data, seed, given.epochs or setting.epochs
            )
            for arm in arms
            for setting in SETTINGS.values()
        },
    )


def each(
    given: argparse.Namespace,
    trace: str,
    jobs: Mapping[tuple[str, str], Callable[[T, int], dict[str, Any]]],
    pictures_of: Callable[[Path, int], T] = pictures,  # type: ignore[assignment]
) -> list[dict[str, Any]]:
    """Run every job, named by arm and setting, for every seed that is not yet in the trace."""
    # One thread: the last digits depend on it, and two processes side by side use two cores better.
    torch.set_num_threads(1)
    path = given.out / trace
    given.out.mkdir(parents=True, exist_ok=True)
    done = {(line["arm"], line["setting"], line["seed"]) for line in read(path)}
    for seed in given.seeds:
        missing = [job for (arm, setting), job in jobs.items() if (arm, setting, seed) not in done]
        if missing:
            data = pictures_of(given.data, seed)
        for job in missing:
            line = job(data, seed)
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
    return read(path)
