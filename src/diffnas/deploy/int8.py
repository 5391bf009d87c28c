"""A trained network as ONNX with 8-bit integers, quantized after training, and its comparison with float32.

Onnxruntime quantizes. It chooses the range of every activation from calibration pictures, and a range of the weights
for each channel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffnas.deploy.graphs import write_onnx
from diffnas.deploy.runtimes import one_threaded
from diffnas.deploy.timing import time_all
from diffnas.nets.trained import Trained
from diffnas.task import classification

FILE = "network.int8.onnx"
CALIBRATION = 256
"""How many pictures decide the ranges of activations."""

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A network in 8 bits, compared with the same network in float32. Pairs are of float32 and of 8 bits.

    Attributes:
        path: the file in 8 bits.
        pictures: how many test pictures both classified.
        accuracy: the shares of these pictures that are right.
        bytes: the sizes of the files.
        milliseconds: the time for one picture on one thread. ``timing`` measures both networks in turn.
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
    """Write the network in 8 bits, and return its comparison with float32.

    Args:
        trained: the network.
        calibration: training pictures, uint8 ``(pictures, channels, H, W)``.
        path: the path of the file.
        test: pictures and labels, with which both networks are measured.

    Raises:
        ImportError: without the extra ``export``.
    """
    with TemporaryDirectory() as folder, _quiet():
        whole, prepared = Path(folder) / "float.onnx", Path(folder) / "prepared.onnx"
        write_onnx(trained, calibration, whole)
        _quantize(whole, prepared, path, calibration)
        networks = [one_threaded(str(each)) for each in (whole, path)]
        images, labels = test[0].contiguous().numpy(), test[1]
        right = [float(classification.each(_logits(network, images), labels).double().mean()) for network in networks]
        calls = [partial(_logits, network, images[:1]) for network in networks]
        first, second = (timed.seconds for timed in time_all(dict(enumerate(calls))).values())
        return Quantized(
            path=path,
            pictures=len(labels),
            accuracy=(right[0], right[1]),
            bytes=(whole.stat().st_size, path.stat().st_size),
            milliseconds=(1000 * first, 1000 * second),
        )


def _quantize(whole: Path, prepared: Path, path: Path, calibration: Tensor) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared),
        str(path),
        _Reader(calibration),
        # Operations on whole numbers, not pairs of conversions around operations: a tenth less of a small file.
        quant_format=quantization.QuantFormat.QOperator,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        # Weights of 7 bits: then the sum of two products fits into 16 bits, which processors without VNNI need.
        reduce_range=True,
    )
    _compact(path)


class _Reader:
    """Calibration pictures in batches, in the form that onnxruntime needs."""

    def __init__(self, pictures: Tensor) -> None:
        self.batches = iter(torch.split(pictures, _BATCH))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch; None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {"pictures": batch.contiguous().numpy()}


def _compact(path: Path) -> None:
    """Give values inside the graph short names, and drop what the exporter noted: a third of a small network's file."""
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

    del graph.value_info[:], graph.metadata_props[:]
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for node in graph.node:
        node.name = ""
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _logits(network: Any, images: NDArray[np.uint8]) -> Tensor:
    """Logits, ``(pictures, classes)``."""
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    return torch.from_numpy(np.concatenate([network.run(["logits"], {"pictures": batch})[0] for batch in batches]))


@contextmanager
def _quiet() -> Iterator[None]:
    """A context in which onnxruntime logs no advice on quantization."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
