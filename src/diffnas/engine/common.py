"""What the two loops share: the device, the running totals of an epoch, memory, and fixed random numbers."""

from __future__ import annotations

import ctypes
import math
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from diffnas.data import DataSet
from diffnas.engine.listen import NotFinite
from diffnas.engine.run import standing
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.lookup import lookup
from diffnas.nets.batched import by_numba
from diffnas.parallel import alone

# Half precision would need a loss scaler around alpha's gradients too; true bfloat16 loses steps of the weights. Double
# precision is slow, and shows what rounding does to a result.
PRECISIONS = ("32-true", "bf16-mixed", "64-true")


def first_line(error: Exception) -> str:
    """What an error says first, or what it is called if it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]


def make_fabric(device: str = "auto", precision: str = "32-true") -> Fabric:
    """Lightning Fabric for one process on one device: "cpu", "cuda", or "auto" for the best of the two that is there.

    Apple's GPUs are not among them: decisions about alpha are made in float64, which they do not have.

    Raises:
        ValueError: for a device or precision that this machine does not have.
    """
    lookup("precision", precision, dict.fromkeys(PRECISIONS))
    chosen = lookup(
        "device", device, {"auto": "cuda" if torch.cuda.is_available() else "cpu", "cpu": "cpu", "cuda": "cuda"}
    )
    try:
        return Fabric(accelerator=chosen, devices=1, precision=precision)  # type: ignore[arg-type]
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


@contextmanager
def fixed_random(seed: int) -> Iterator[None]:
    """Inside, torch's own random numbers follow from ``seed``; outside, nothing has changed."""
    cuda = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


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
def computing_on(threads: int | None, *, kernels: bool = False) -> Iterator[None]:
    """Inside, so many CPU threads compute; None changes nothing. Freed memory is kept from here on.

    Args:
        threads: how many.
        kernels: whether our own kernels do most of the work: then the threads are theirs, and torch has one.
    """
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with alone(threads or before) if kernels else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def weights_fixed(net: nn.Module) -> Iterator[None]:
    """Inside, the parameters of ``net`` get no gradients, which spares the time that these would take."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def by_kernels(forward_by: str, device: torch.device, precision: str) -> bool:
    """Whether a search spends its time in our own kernels."""
    return forward_by != "plain" and precision == "32-true" and by_numba(torch.empty(0, device=device))


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


@dataclass
class Totals:
    """Sums over the batches of an epoch, on the device: nothing is read back before somebody looks.

    Attributes:
        sums: loss times pictures, correct pictures, pictures; float64, ``(3,)``.
    """

    sums: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits ``(B, classes)`` and labels ``(B,)``."""
        correct = (logits.argmax(dim=1) == labels).sum()
        count = len(labels)
        self.sums = self.sums.to(loss.device)
        self.sums += torch.stack([loss.double() * count, correct.double(), torch.full_like(loss, count).double()])

    @property
    def loss(self) -> float:
        """The mean loss a picture; 0 before the first batch."""
        return float(self.sums[0] / self.sums[2].clamp_min(1))

    @property
    def accuracy(self) -> float:
        """The share of pictures that were right, from 0 to 1."""
        return float(self.sums[1] / self.sums[2].clamp_min(1))

    @property
    def pictures(self) -> int:
        """How many there were."""
        return int(self.sums[2])


def check_finite(loss: float, where: str, folder: Path | None) -> None:
    """Stop a run, whose folder is ``folder`` if it has one, if its loss has left the numbers.

    Raises:
        NotFinite: with what usually helps.
    """
    if not math.isfinite(loss):
        raise NotFinite(
            f"the loss became {loss} in {where}. {standing(folder)} "
            "Begun anew, a lower learning rate (--lr), clipping (--set clip=1) or full precision usually helps."
        )


def describe_data(data: DataSet) -> dict[str, Any]:
    """Which pictures a run saw, and how they were read, as plain data."""
    # Only where there are levels: the records of older runs have none, and these must fit when they go on.
    levels = {} if data.levels is None else {"levels": list(data.levels)}
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "train": len(data.train),
        "test": len(data.test),
        "classes": list(data.classes),
        "channels": data.channels,
        "size": list(data.size),
        "mean": list(data.mean),
        "std": list(data.std),
        "augmentation": asdict(data.augmentation),
        **levels,
    }


def peak_memory(device: torch.device) -> int:
    """The most memory this process has held so far, in bytes: on the GPU if it computes there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def parameter_count(module: nn.Module) -> int:
    """How many weights a module has."""
    return sum(parameter.numel() for parameter in module.parameters())


def sgd(module: nn.Module, settings: SearchSettings | EvaluateSettings) -> torch.optim.Optimizer:
    """What moves the weights of a module, as the settings have it: all of them in one call.

    On a CPU that call takes a gradient for one whose strides are the weight's: true of what ``backward`` leaves.
    """
    return torch.optim.SGD(
        module.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give every weight that has none yet a momentum of zero, which is what SGD begins with.

    For steps in which not all weights have a gradient, or some are new: one call for all of them fails if some of
    those with a gradient have a momentum and others have not.
    """
    (group,) = optimizer.param_groups
    if group["momentum"] and len(optimizer.state) < len(group["params"]):
        for weight in group["params"]:
            if weight not in optimizer.state:
                optimizer.state[weight] = {"momentum_buffer": torch.zeros_like(weight)}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def all_finite(state: Any) -> bool:
    """Whether every number of a nested state is finite."""
    if isinstance(state, Tensor):
        return bool(state.isfinite().all())
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return all(all_finite(part) for part in parts)


def to_cpu(state: Any) -> Any:
    """A nested state with every tensor on the CPU, so that a checkpoint can be read on any machine."""
    if isinstance(state, Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {name: to_cpu(part) for name, part in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_cpu(part) for part in state)
    return state
