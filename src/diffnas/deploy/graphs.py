"""A trained network as a graph of operations: ONNX, and PyTorch's own exported programs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffnas.deploy.check import Run
from diffnas.deploy.deployed import Deployed, about
from diffnas.nets.trained import Trained


def write_exported(trained: Trained, pictures: Tensor, path: Path) -> Run:
    """Write the network as a ``torch.export`` program, which needs only torch; return a function that runs it.

    The program takes uint8 pictures in batches of any size, and returns logits and probabilities. Classes,
    normalization and the like are extra files in the archive.
    """
    torch.export.save(_program(trained, pictures), path, extra_files=about(trained))
    loaded = torch.export.load(path).module()

    def run(batch: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = loaded(batch)[0]
        return logits

    return run


def write_onnx(trained: Trained, pictures: Tensor, path: Path) -> Run:
    """Write the network as ONNX, and return a function that runs it.

    The model's input is ``pictures``, uint8, in batches of any size. Its outputs are ``logits`` and ``probabilities``.
    Classes, normalization and the like are JSON texts in its metadata.

    Raises:
        ImportError: without the extra ``export``.
    """
    session = save_onnx(
        _program(trained, pictures), {"pictures": pictures[:2]}, ["logits", "probabilities"], about(trained), path
    )
    return lambda batch: torch.from_numpy(session.run(["logits"], {"pictures": batch.contiguous().numpy()})[0])


def save_onnx(
    program: torch.export.ExportedProgram,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    told: Mapping[str, str],
    path: Path,
) -> Any:
    """Write a program as ONNX, and return a session of onnxruntime that runs it.

    Args:
        program: the program.
        inputs: an example of each input, by name; batches may have any size.
        outputs: the names of its outputs.
        told: the metadata of the model.
        path: the file.

    Raises:
        ImportError: without the extra ``export``.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch needs it to write ONNX)
    except ImportError as error:
        raise ImportError('ONNX needs: pip install ".[export]", in the checkout of diffnas') from error
    with _quiet():
        made: Any = torch.onnx.export(
            program,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {0: "batch"} for name in inputs},
            dynamo=True,
            verbose=False,
        )
    made.model.metadata_props.update(told)
    # The metadata of nodes holds source lines and the paths of this machine's folders, which are of no use elsewhere.
    for node in made.model.graph.all_nodes():
        node.metadata_props.clear()
    made.save(path)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _program(trained: Trained, pictures: Tensor) -> torch.export.ExportedProgram:
    return program_of(Deployed(trained), {"pictures": pictures})


def program_of(net: nn.Module, inputs: Mapping[str, Tensor]) -> torch.export.ExportedProgram:
    """The graph of a module, for batches of any size; ``inputs`` are examples, by the names of its arguments."""
    # Two samples, because torch treats a batch size of one as a constant.
    examples = [(each if len(each) > 1 else torch.cat([each, each]))[:2].contiguous() for each in inputs.values()]
    batch = torch.export.Dim("batch")
    with torch.no_grad(), _quiet():
        program = torch.export.export(net, tuple(examples), dynamic_shapes={name: {0: batch} for name in inputs})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """A context without torch's own warnings about deprecated and missing parts of itself."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
