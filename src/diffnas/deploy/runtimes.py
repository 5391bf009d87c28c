"""Runtimes that run a module as it will be deployed: PyTorch and onnxruntime, for one picture, without gradients."""

from __future__ import annotations

import io
import platform
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from diffnas.lookup import lookup
from diffnas.nets.auxiliary import Output

Call = Callable[[], object]


class Runtime(Protocol):
    """Makes functions that run a module."""

    def __call__(self, module: nn.Module, shape: tuple[int, ...]) -> Call:
        """A function that runs a module, in evaluation mode, on one random picture of this shape."""


class _Plain(nn.Module):
    """A net whose result is a single tensor: of an ``Output``, only the logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """The logits if the net gives an ``Output``, else its result."""
        found: Any = self.net(x)
        return found.logits if isinstance(found, Output) else found


def _picture(shape: tuple[int, ...]) -> Tensor:
    # Not zeros, with which some computations are faster; but below 1 for tokens, whose ids are rounded down to 0.
    draw = torch.rand if len(shape) == 1 else torch.randn
    return draw(1, *shape, generator=torch.Generator().manual_seed(0))


def with_torch(module: nn.Module, shape: tuple[int, ...]) -> Call:
    """A function that runs a module with PyTorch, operation by operation."""
    net, x = _Plain(module).eval(), _picture(shape)

    def call() -> None:
        with torch.inference_mode():
            net(x)

    return call


def with_onnxruntime(module: nn.Module, shape: tuple[int, ...]) -> Call:
    """A function that runs a module with onnxruntime on one CPU thread, with all its graph optimizations.

    Raises:
        ImportError: without the extra ``export``.
    """
    try:
        import onnx  # noqa: F401  (torch needs it to write ONNX)
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'latency with onnxruntime needs: pip install "diffnas[export]"; or take --runtime torch.'
        ) from error
    file, x = io.BytesIO(), _picture(shape)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # Without torch.export, which takes seconds for each of dozens of small graphs.
        torch.onnx.export(_Plain(module).eval(), (x,), file, dynamo=False, input_names=["x"])  # type: ignore[arg-type]
    session = one_threaded(file.getvalue())
    # A model whose output does not depend on x has no input.
    given = {each.name: x.numpy() for each in session.get_inputs()}
    return lambda: session.run(None, given)


def one_threaded(model: str | bytes) -> Any:
    """A session of onnxruntime that runs a model, given as a path or as bytes, on one CPU thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


RUNTIMES: dict[str, Runtime] = {"onnxruntime": with_onnxruntime, "torch": with_torch}
"""The runtimes by name."""


def runtime_named(name: str | None) -> str:
    """``name`` if there is such a runtime; for None, onnxruntime if it is installed, else torch.

    Raises:
        ValueError: for an unknown name.
    """
    if name is None:
        return "onnxruntime" if find_spec("onnxruntime") and find_spec("onnx") else "torch"
    lookup("runtime", name, RUNTIMES)
    return name


def version_of(runtime: str) -> str:
    """The version of a runtime."""
    if runtime == "torch":
        return torch.__version__
    import onnxruntime

    return str(onnxruntime.__version__)


def machine() -> str:
    """The name of this machine's processor."""
    return _processor(Path("/proc/cpuinfo")) or f"{platform.processor() or 'a processor'}, {platform.machine()}"


def _processor(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "")
