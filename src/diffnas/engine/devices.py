"""The device that a run computes on: Fabric, its precision, its threads and its memory."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from diffnas.data import DataSet
from diffnas.engine.ranks import ALONE, Ranks
from diffnas.lookup import lookup
from diffnas.names import first_line
from diffnas.nets.backend import Backend

# Half precision would need a loss scaler around alpha's gradients too, and true bfloat16 rounds small steps of the
# weights away. Double precision is slow, and shows what rounding does to a result.
PRECISIONS = ("32-true", "bf16-mixed", "64-true")


def make_fabric(device: str = "auto", precision: str = "32-true", ranks: Ranks = ALONE) -> Fabric:
    """Lightning Fabric for this process on one device: "cpu", "cuda", or "auto" for cuda if there is a GPU, else cpu.

    If a machine has enough GPUs, each of its ranks takes another one.

    Apple's GPUs are left out, because decisions about alpha need float64, which they do not have.

    Raises:
        ValueError: for a device or precision that this machine does not have.
    """
    lookup("precision", precision, dict.fromkeys(PRECISIONS))
    chosen = lookup(
        "device", device, {"auto": "cuda" if torch.cuda.is_available() else "cpu", "cpu": "cpu", "cuda": "cuda"}
    )
    own = [ranks.local % max(torch.cuda.device_count(), 1)] if ranks.several and chosen == "cuda" else 1
    try:
        fabric = Fabric(accelerator=chosen, devices=own, precision=precision)  # type: ignore[arg-type]
    except Exception as error:
        message = first_line(error)
        raise ValueError(f"device {device!r} with precision {precision!r} cannot be used here: {message}") from None
    if isinstance(own, list):
        torch.cuda.set_device(fabric.device)  # torch's own random numbers and captured graphs are those of this GPU
    return fabric


def dtype_of(precision: str) -> torch.dtype:
    """The dtype of alpha and the weights: float64 in double precision, else float32."""
    return torch.float64 if precision == "64-true" else torch.float32


def picture_on(device: torch.device, precision: str, data: DataSet) -> Tensor:
    """A picture or a step as a run's first batch has them, ``(1, C, H, W)``, of any values."""
    return torch.empty(1, *data.shape, device=device, dtype=dtype_of(precision))


def in_training(fabric: Fabric, net: nn.Module) -> nn.Module:
    """A net as training calls it, under Fabric's precision.

    In double precision this is the net itself, because Fabric would round its outputs, and so the loss, to float32.
    """
    if fabric.strategy.precision.precision == "64-true":
        return net
    return fabric.setup_module(net, move_to_device=False)


# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Make this process keep the memory of freed tensors, for those of the next step. It cannot be undone.

    By default, the C library of Linux gives the memory of a freed tensor back to the system, which clears each page
    before it gives it out again. That takes half the time of a supernet's step on a CPU. Only Linux is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)


@contextmanager
def computing_on(threads: int | None, backend: Backend | None = None) -> Iterator[None]:
    """A context in which PyTorch and a backend compute with this many CPU threads; None leaves torch's number.

    From here on, the process keeps freed memory, also after the context.
    """
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with backend.computing(threads or before) if backend else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def rounding_products(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """A context in which a GPU computes float32 products and convolutions in TF32, or does not. A CPU never does."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held so far: of the GPU's memory if ``device`` is one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
