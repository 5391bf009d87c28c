"""The device that a run computes on: Fabric, its precision, its threads and its memory."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from lightning_fabric import Fabric
from torch import nn

from diffnas.engine.ranks import ALONE, Ranks
from diffnas.lookup import lookup
from diffnas.names import first_line
from diffnas.nets.backend import Backend

# Half precision would need a loss scaler around alpha's gradients too; true bfloat16 loses steps of the weights. Double
# precision is slow, and shows what rounding does to a result.
PRECISIONS = ("32-true", "bf16-mixed", "64-true")


def make_fabric(device: str = "auto", precision: str = "32-true", ranks: Ranks = ALONE) -> Fabric:
    """Lightning Fabric for this process on one device: "cpu", "cuda", or "auto" for the best of the two that is there.

    Of several GPUs, each rank of a machine takes its own, as long as there are enough.

    Apple's GPUs are not among them: decisions about alpha are made in float64, which they do not have.

    Raises:
        ValueError: for a device or precision that this machine does not have.
    """
    lookup("precision", precision, dict.fromkeys(PRECISIONS))
    chosen = lookup(
        "device", device, {"auto": "cuda" if torch.cuda.is_available() else "cpu", "cpu": "cpu", "cuda": "cuda"}
    )
    own = [ranks.local % max(torch.cuda.device_count(), 1)] if ranks.several and chosen == "cuda" else 1
    try:
        return Fabric(accelerator=chosen, devices=own, precision=precision)  # type: ignore[arg-type]
    except Exception as error:
        message = first_line(error)
        raise ValueError(f"device {device!r} with precision {precision!r} cannot be used here: {message}") from None


def dtype_of(precision: str) -> torch.dtype:
    """What alpha, the weights and what follows from them are kept in: float64 in double precision, else float32."""
    return torch.float64 if precision == "64-true" else torch.float32


def in_training(fabric: Fabric, net: nn.Module) -> nn.Module:
    """A net as training calls it, under Fabric's precision.

    In double precision that is the net itself: Fabric would round what comes out of it to float32, and so the loss.
    """
    if fabric.strategy.precision.precision == "64-true":
        return net
    return fabric.setup_module(net, move_to_device=False)


# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free, for those of the next step.

    By default the C library of Linux hands every freed tensor back to the kernel, which clears every page of the next
    one: half the time of a supernet's step on a CPU. There is no way back, and elsewhere nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)


@contextmanager
def computing_on(threads: int | None, backend: Backend | None = None) -> Iterator[None]:
    """Inside, so many CPU threads compute, a backend's own if it has some; None changes nothing.

    Freed memory is kept from here on.
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
    """Inside, a GPU's float32 products and convolutions may use TF32, or may not; on a CPU nothing changes."""
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
    """The most memory this process has held so far, in bytes: on the GPU if it computes there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
