"""The choice of a run's backend, with the reason."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from diffnas.backends import Asked
from diffnas.lookup import lookup
from diffnas.nets.backend import Backend
from diffnas.nets.frames.recurrent import Stepwise
from diffnas.nets.network import Network
from diffnas.nets.stacked import stackable
from diffnas.nets.supernet import Supernet

TRITON_NEEDS = (8, 0)
"""The compute capability from which Triton compiles for a GPU."""


class Choice(NamedTuple):
    """The backend of a run.

    Attributes:
        backend: the backend; None is the plain way, which calls one module after the other.
        why: the reason for the plain way if the user did not ask for it; else None.
    """

    backend: Backend | None
    why: str | None


def choose(asked: Asked, device: torch.device, precision: str, *, graph: bool = False) -> Choice:
    """The backend for a run on a device, and the reason if there is none.

    Args:
        asked: "auto" for the fastest, "plain" for none, or a backend by name.
        device: the device of the run.
        precision: the precision of the run, as Lightning Fabric names it.
        graph: whether passes are replayed from CUDA graphs.

    Raises:
        ValueError: for a backend that cannot be used here, with the reason.
    """
    lookup("backend", asked, dict.fromkeys(("auto", "plain", "cpu", "gpu")))
    if asked == "plain":
        return Choice(None, None)
    fitting = "gpu" if device.type == "cuda" else "cpu"
    reason = _why_not(fitting if asked == "auto" else asked, device, precision, graph=graph or asked != "auto")
    if reason is not None:
        if asked != "auto":
            raise ValueError(f"the backend {asked!r} cannot be used: {reason}. Take --backend auto or plain.")
        return Choice(None, reason)
    return Choice(_load(fitting if asked == "auto" else asked), None)


def _why_not(name: str, device: torch.device, precision: str, *, graph: bool) -> str | None:
    needs, package = {"cpu": ("cpu", "numba"), "gpu": ("cuda", "triton")}[name]
    launched = name == "gpu" and not graph
    reasons = {
        f"the run computes on {device.type}": device.type != needs,
        f"its kernels compute in float32 (32-true), and the run in {precision}": precision != "32-true",
        f"{package} is not installed": find_spec(package) is None,
        "without a CUDA graph its kernels take longer to launch than PyTorch takes for all": launched,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    return why_triton_cannot_compile(device) if reason is None and name == "gpu" else reason


def why_triton_cannot_compile(device: torch.device) -> str | None:
    """The reason why Triton compiles no kernels for a GPU of this machine; None if it does."""
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < TRITON_NEEDS:
        return f"Triton needs a GPU of compute capability 8.0, and this one has {major}.{minor}"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler, and there is none: install gcc, or name one in the variable CC"
    return None


def _load(name: str) -> Backend:
    if name == "cpu":
        from diffnas.backends.cpu.backend import CPU

        return CPU()
    from diffnas.backends.gpu.backend import GPU

    return GPU()


def describe(net: Supernet | Network, choice: Choice, x: Tensor) -> tuple[str, ...]:
    """Sentences on how a net is computed in training: its backend, then the kinds of cell that are slower, and why.

    Args:
        net: the net.
        choice: its backend.
        x: pictures like those of the run, on its device and of its dtype. Only what they are is read, not their values.
    """
    if isinstance(net.frame, Stepwise):
        if not net.cells:
            return ("a layer of PyTorch runs",)
        at_once = all(stackable(cell) for cell in net.cells)
        products = "the inputs of a node are multiplied at once" if at_once else "one operation after the other"
        return (f"the cell runs step by step, {products}, in PyTorch",)
    why = _why_plain(net, choice, x)
    if choice.backend is None or why:
        return ("cells run operation by operation, in PyTorch" + (f": {why}" if why else ""),)
    first = f"cells run by the {choice.backend.name} backend"
    kinds: dict[str, list[str]] = {}
    for kind, why in {cell.kind: choice.backend.why_slower(cell) for cell in net.cells}.items():
        if why:
            kinds.setdefault(why, []).append(repr(kind))
    slower = [
        f"PyTorch computes a part of the cells of the kind{'s' * (len(alike) > 1)} {', '.join(alike)}: {why}"
        for why, alike in kinds.items()
    ]
    return (first, *slower)


def wholly_by(net: Network, choice: Choice, x: Tensor) -> Backend | None:
    """The backend, if its kernels compute all cells of a network; None if PyTorch computes a part of one.

    Args:
        net: the network.
        choice: its backend.
        x: pictures, as in ``describe``.
    """
    backend = choice.backend
    if backend is None or isinstance(net.frame, Stepwise) or _why_plain(net, choice, x):
        return None
    return None if any(backend.why_slower(cell) for cell in net.cells) else backend


def _why_plain(net: Supernet | Network, choice: Choice, x: Tensor) -> str | None:
    """The reason why PyTorch computes the cells; None if the user asked for that, or if a backend computes them."""
    if choice.backend is None:
        return choice.why
    if isinstance(net, Supernet) and net.options.drawn:
        return "which operations run is drawn in every step"
    if any(cell.stream is not None for cell in net.cells):
        return "there are no kernels for the branches of transformers"
    reason = choice.backend.why_not(x)
    return reason and f"the {choice.backend.name} backend cannot train on these pictures, because {reason}"
