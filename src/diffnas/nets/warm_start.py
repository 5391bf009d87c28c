"""A warm start: the weights of an earlier supernet in a new one, which may have other operations and more channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffnas.components.initial import Layer, layers
from diffnas.components.level import Batch
from diffnas.names import first_line
from diffnas.nets.cell import Cell
from diffnas.nets.supernet import Supernet
from diffnas.nets.trained import renamed
from diffnas.run_folder import RunFolder, saved
from diffnas.untrusted import torch_archive


class Taken(NamedTuple):
    """How much of a net was taken from another one.

    Attributes:
        tensors, of_tensors: the tensors of weights of which all or a part was taken, and all of the net.
        weights, of_weights: the same of single weights.
    """

    tensors: int
    of_tensors: int
    weights: int
    of_weights: int

    def __str__(self) -> str:
        share = self.weights / max(self.of_weights, 1)
        return f"{self.tensors} of {self.of_tensors} tensors, {share:.0%} of the parameters, were taken"


def from_run(net: nn.Module, batch: Batch, generator: torch.Generator, *, folder: str) -> str:
    """The weights and running statistics of the supernet in a run folder, as far as they fit; all others are new.

    Returns:
        How much was taken.

    Raises:
        ValueError: if the folder has no good checkpoint of a search, or no weight of its cells fits.
    """
    RunFolder.open(Path(folder))
    paths = saved(RunFolder(Path(folder)).checkpoints)
    if not paths:
        raise ValueError(f"{folder} has no checkpoint, and so no weights. Name the folder of a search that has begun.")
    return from_file(net, batch, generator, path=str(paths[0]))


def from_file(net: nn.Module, batch: Batch, generator: torch.Generator, *, path: str) -> str:
    """The weights of the supernet in a checkpoint; see ``from_run``."""
    assert isinstance(net, Supernet)
    taken = transplant_(net, _weights_in(Path(path)), path)
    return f"warm start from {path}: {taken}."


def _weights_in(path: Path) -> Mapping[str, Tensor]:
    """The weights of the supernet in a checkpoint; a ValueError if it is damaged, or not that of a search."""
    try:
        state = torch_archive.read(path.read_bytes(), "cpu")
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ValueError(
            f"the weights in {path} cannot be read ({first_line(error)}). Name another run, or leave --initial out."
        ) from error
    found = state.get("supernet") if isinstance(state, dict) else None
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise ValueError(f"{path} does not hold a supernet. Name the folder of a search.")
    return renamed(found)


@torch.no_grad()
def transplant_(net: Supernet, weights: Mapping[str, Tensor], name: str) -> Taken:
    """Copy weights and buffers by their names into a supernet, whose tensors may be larger.

    A smaller tensor is copied into the leading channels; where a layer reads several nodes side by side, into the
    leading channels of each. A layer that reads other pictures or gives other classes stays new, and so do tensors
    that are smaller in ``net``, or have no namesake.

    Args:
        net: the supernet.
        weights: the tensors of another supernet.
        name: how an error calls the other one.

    Raises:
        ValueError: if nothing of the cells fits.
    """
    reads, ends = dict(_side_by_side(net)), set(_ends(net))
    own = dict(net.named_parameters())
    counts = {key: _take(tensor, weights.get(key), reads.get(key, 1), key in ends) for key, tensor in own.items()}
    for key, buffer in net.named_buffers():
        _take(buffer, weights.get(key), 1, fixed=False)
    in_cells = {id(each) for cell in net.cells for each in cell.parameters()}
    if not any(counts[key] for key, each in own.items() if id(each) in in_cells):
        missing = [key for key, each in own.items() if id(each) in in_cells and not counts[key]][:3]
        raise ValueError(
            f"no weight of the cells in {name} fits this supernet, which needs {', '.join(missing)}, ... "
            "Name a run of the same space, with as many channels or fewer."
        )
    return Taken(
        sum(map(bool, counts.values())), len(own), sum(counts.values()), sum(each.numel() for each in own.values())
    )


def _take(tensor: Tensor, other: Tensor | None, blocks: int, fixed: bool) -> int:
    """How many numbers of ``other`` were copied into a tensor.

    ``blocks`` of channels that are read lie side by side. ``fixed`` says that only the width on the side of the cells
    may differ, because the other side is that of pictures or classes.
    """
    if other is None or other.dim() != tensor.dim() or other.dtype.is_floating_point != tensor.dtype.is_floating_point:
        return 0
    if other.dim() < 2:
        if (fixed and other.shape != tensor.shape) or other.numel() > tensor.numel():
            return 0
        tensor[tuple(map(slice, other.shape))].copy_(other)
        return other.numel()
    side = 0 if fixed and other.dim() == 2 else 1
    if (fixed and other.shape[side] != tensor.shape[side]) or other.shape[2:] != tensor.shape[2:]:
        return 0
    if any(size % blocks for size in (other.shape[1], tensor.shape[1])):
        return 0
    into, read = (each.view(len(each), blocks, -1, *each.shape[2:]) for each in (tensor, other.contiguous()))
    if read.shape[0] > into.shape[0] or read.shape[2] > into.shape[2]:
        return 0
    into[: read.shape[0], :, : read.shape[2]].copy_(read)
    return other.numel()


def _side_by_side(net: Supernet) -> Iterator[tuple[str, int]]:
    """For each weight that reads the output of a cell, its name and how many nodes lie side by side there."""
    names = {layer.weight: f"{name}.weight" for name, layer in net.named_modules() if isinstance(layer, Layer)}
    for place, cell in enumerate(net.cells):
        for number, prepare in enumerate(cell.inputs):
            source = place - len(cell.inputs) + number
            if source >= 0:
                yield from ((names[layer.weight], _nodes(net.cells[source])) for layer in layers(prepare))
    *_, last = layers(net.frame)
    yield names[last.weight], _nodes(net.cells[-1])


def _nodes(cell: Cell) -> int:
    return len(cell.graph.output) if cell.join == "concat" else 1


def _ends(net: Supernet) -> Iterator[str]:
    """The names of the weights that read pictures or give classes."""
    found = [name for name, each in net.frame.named_modules(prefix="frame") if isinstance(each, Layer)]
    first = next(name for name in found if name.startswith("frame.stem"))
    head = [name for name in found if name.startswith(("frame.head", "frame.auxiliary"))][-1:]
    for name in (first, *head):
        yield from (f"{name}.weight", f"{name}.bias")
