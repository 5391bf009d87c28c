"""A trained network in whole numbers of 8 bits: ONNX, quantized after training, with what that costs and saves.

Onnxruntime quantizes. It chooses the range of every activation from calibration pictures, and that of the weights
channel by channel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffnas.deploy.graphs import write_onnx
from diffnas.nets.trained import Trained
from diffnas.task import classification

FILE = "network.int8.onnx"
CALIBRATION = 256
"""How many pictures the ranges of activations are chosen from."""

_BATCH = 64
_ROUNDS, _LONG_ENOUGH = 7, 0.03  # of timing; seconds that a round lasts at least


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A network of 8 bits beside the one it was made from.

    Attributes:
        path: the file of 8 bits.
        pictures: how many test pictures both classified.
        accuracy: share of them that are right, of the network in float32 and in 8 bits.
        bytes: the sizes of both files.
        milliseconds: for one picture on one thread, the fastest of several rounds that take turns.
    """

    path: Path
    pictures: int
    accuracy: tuple[float, float]
    bytes: tuple[int, int]
    milliseconds: tuple[float, float]

    def __str__(self) -> str:
        size, time_ = self.bytes, self.milliseconds
        return (
            f"float32 -> int8 on {self.pictures} test pictures: accuracy {self.accuracy[0]:.2%} -> "
            f"{self.accuracy[1]:.2%}, {size[0] / 1024:.0f} KiB -> {size[1] / 1024:.0f} KiB, "
            f"{time_[0]:.2f} ms -> {time_[1]:.2f} ms a picture"
        )


def write_int8(trained: Trained, calibration: Tensor, path: Path, test: tuple[Tensor, Tensor]) -> Quantized:
    """Write the network in 8 bits, and return how it compares with float32.

    Args:
        trained: the network.
        calibration: training pictures, uint8 ``(pictures, channels, H, W)``.
        path: where the file goes.
        test: pictures and labels to measure both networks with.

    Raises:
        ImportError: without the extra ``export``.
    """
    with TemporaryDirectory() as folder, _quiet():
        whole, prepared = Path(folder) / "float.onnx", Path(folder) / "prepared.onnx"
        write_onnx(trained, calibration, whole)
        _quantize(whole, prepared, path, calibration)
        networks = [_session(each) for each in (whole, path)]
        images, labels = test[0].contiguous().numpy(), test[1]
        right = [float(classification.each(_logits(network, images), labels).double().mean()) for network in networks]
        first, second = fastest([lambda network=network: _logits(network, images[:1]) for network in networks])  # type: ignore[misc]
        return Quantized(
            path=path,
            pictures=len(labels),
            accuracy=(right[0], right[1]),
            bytes=(whole.stat().st_size, path.stat().st_size),
            milliseconds=(1000 * first, 1000 * second),
        )


def fastest(calls: Sequence[Callable[[], object]], clock: Callable[[], float] = time.process_time) -> list[float]:
    """Seconds that each call takes: the fastest of several rounds, in which the calls take turns.

    >>> now = iter(range(1000))
    >>> fastest([lambda: None], clock=lambda: float(next(now)))
    [1.0]
    """
    times = [float("inf")] * len(calls)
    repeats = [1] * len(calls)
    for round_ in range(_ROUNDS + 1):
        for place, call in enumerate(calls):
            begun = clock()
            for _ in range(repeats[place]):
                call()
            spent = clock() - begun
            if round_:
                times[place] = min(times[place], spent / repeats[place])
            else:  # the first round warms up, and says how many calls last long enough to be timed
                repeats[place] = 1 + int(_LONG_ENOUGH / max(spent, 1e-6))
    return times


def _quantize(whole: Path, prepared: Path, path: Path, calibration: Tensor) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(path),
        _Reader(calibration),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        # Of 7 bits, two products fit into the 16 bits in which processors without VNNI add them up.
        reduce_range=True,
    )
    _compact(path)


class _Reader:
    """Calibration pictures in batches, as onnxruntime asks for them."""

    def __init__(self, pictures: Tensor) -> None:
        self.batches = iter(torch.split(pictures, _BATCH))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch; None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {"pictures": batch.contiguous().numpy()}


def _compact(path: Path) -> None:
    """Give every value inside the graph a short name: in small networks, long ones are a third of the file."""
    import onnx

    model: Any = onnx.load(str(path))
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    number = count()
    names: dict[str, str] = {"": ""}

    def short(name: str) -> str:
        if name not in names:
            names[name] = name if name in kept else f"v{next(number)}"
        return names[name]

    del graph.value_info[:]
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for node in graph.node:
        node.name = ""
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _logits(network: Any, images: NDArray[np.uint8]) -> Tensor:
    """Logits, ``(pictures, classes)``."""
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    return torch.from_numpy(np.concatenate([network.run(["logits"], {"pictures": batch})[0] for batch in batches]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, onnxruntime keeps its advice on quantization to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
