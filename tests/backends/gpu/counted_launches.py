"""Launches of the GPU's kernels, counted without a GPU, without Triton and without arithmetic."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import diffnas.backends.gpu


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One launch of a kernel: its name, its programs on each axis, and its arguments."""

    kernel: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]


@dataclass
class Record:
    """What a GPU would be told to do: launches of our kernels, and PyTorch's operations that run on the device.

    Attributes:
        backend: our GPU backend, with kernels that only write themselves down here.
        launches: of our kernels.
        operations: PyTorch's, by name; views and new memory launch nothing and are left out.
    """

    backend: Any
    launches: list[Launch] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.launches) + len(self.operations)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, PyTorch's operations are recorded too, also those of backward passes on this thread."""
        with _Watched(self):
            yield


class _Watched(TorchDispatchMode):
    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not (func.is_view or name.startswith(("empty", "new_empty", "detach", "alias", "unbind", "split"))):
            self.record.operations.append(name)
        out = func(*args, **(kwargs or {}))
        if name == "convolution" and args[0].is_contiguous(memory_format=torch.channels_last):
            # As cuDNN does it; on ``meta`` the channels would come first, and be moved to the end by a copy.
            out = out.contiguous(memory_format=torch.channels_last)
        return out


def _stand_in(launches: list[Launch]) -> ModuleType:
    """A module in place of Triton; its kernels write down how they are launched."""

    class Kernel:
        def __init__(self, function: Callable[..., None]) -> None:
            self.name = function.__name__

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            def launch(*arguments: Any, **constants: Any) -> None:
                launches.append(Launch(kernel=self.name, grid=grid, arguments=(*arguments, *constants.values())))

            return launch

    triton = ModuleType("triton")
    triton.jit = lambda function=None, **_: Kernel if function is None else Kernel(function)  # type: ignore[attr-defined]
    triton.language = ModuleType("triton.language")  # type: ignore[attr-defined]
    triton.language.constexpr = lambda value: value  # type: ignore[attr-defined]
    return triton


def recording(monkeypatch: pytest.MonkeyPatch) -> Record:
    """The GPU backend with kernels that compute nothing; its tensors are on PyTorch's ``meta`` device."""
    found = Record(backend=None)
    importlib.import_module("torch._dynamo")  # it looks into Triton, and must not find the stand-in
    triton = _stand_in(found.launches)
    monkeypatch.setitem(sys.modules, "triton", triton)
    monkeypatch.setitem(sys.modules, "triton.language", triton.language)
    package = diffnas.backends.gpu
    for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(package, name.rpartition(".")[2], None, raising=False)
    kernels = "kernels", "pointwise_kernels", "depthwise_kernels", "pool_kernels"
    for name in (*kernels, "launches", "stage", "chains", "sums", "pools", "backend"):
        monkeypatch.setattr(package, name, None, raising=False)
        importlib.import_module(f"{package.__name__}.{name}")
    backend = importlib.import_module(f"{package.__name__}.backend").GPU()
    monkeypatch.setattr(type(backend), "why_not", lambda self, x: None)
    found.backend = backend
    return found
