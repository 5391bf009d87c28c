"""A recurrent network as one readable file of plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffnas.deploy.check import Run
from diffnas.deploy.source import quoted, rendered, written
from diffnas.genotype import Cell, Genotype
from diffnas.nets.ops.recurrent import RECURRENT
from diffnas.nets.trained import Trained
from diffnas.skeleton import Recurrent, skeleton_of

_ACTIVATIONS: Mapping[str, str] = {**{name: f"torch.{name}" for name in RECURRENT}, "identity": "itself"}


def write_step_source(trained: Trained, window: Tensor, path: Path) -> Run:
    """Write a recurrent network as Python at ``path`` and its weights beside it; return a function that runs them.

    Raises:
        ValueError: for a network that labels whole sequences, or an activation of the user's own.
    """
    network = written(trained, step_source(trained), path)

    def run(batch: Tensor) -> Tensor:
        with torch.no_grad():
            outputs: Tensor = network(batch)[0]
        return outputs

    return run


def step_source(trained: Trained) -> str:
    """The Python source of a recurrent network; the errors are those of ``write_step_source``."""
    if trained.kind == "labelled":
        raise ValueError("the source of a network that labels whole sequences is not known here. Take --format torch.")
    skeleton = skeleton_of(trained.genotype.skeleton)
    assert isinstance(skeleton, Recurrent)
    tokens = trained.tokens
    return rendered(
        "steps.py.jinja",
        layer={"cell": None, "lstm": "nn.LSTM", "gru": "nn.GRU"}[skeleton.layer],
        **_cell(trained.genotype),
        tokens=tokens is not None,
        vocabulary=[quoted(name) for name in (tokens.vocabulary if tokens else trained.classes)],
        kind="tokens" if tokens is None else tokens.kind,
        mean=tuple(trained.mean),
        std=tuple(trained.std),
        inputs=trained.channels,
        width=next(iter(trained.network.parameters())).shape[1 if tokens else 0],
    )


def _cell(genotype: Genotype) -> dict[str, Any]:
    """What the template needs of a cell; nothing if a layer stands in its place."""
    if not genotype.cells:
        return {"described": [], "nodes": [], "names": {}, "output": ""}
    (kind,) = genotype.cells
    connections, output = genotype.built(kind)
    cell = Cell(inputs=1, nodes=genotype.cells[kind].nodes, connections=connections, output=output)
    for op, _, _ in connections:
        if op not in _ACTIVATIONS:
            raise ValueError(f"{op!r} is an activation of your own, whose source is not known here. Export to onnx.")
    targets = list(dict.fromkeys(each.target for each in connections))
    first = {target: next(k for k, each in enumerate(connections) if each.target == target) for target in targets}
    return {
        "described": [
            f"{node} = {_mean([f'{op}({source})' for op, source, _ in cell.incoming(node)])}" for node in targets
        ],
        "nodes": [(node, list(_terms(cell, node))) for node in targets],
        "names": {f"cells.0.ops.{first[node]}.gate.product.weight": f"gates.{node}.weight" for node in targets},
        "output": _mean([f"node{node}" for node in output]),
    }


def _terms(cell: Cell, node: int) -> Iterator[str]:
    for op, source, _ in cell.incoming(node):
        yield f'gated(self.gates["{node}"](node{source}), node{source}, {_ACTIVATIONS[op]})'


def _mean(values: Sequence[str]) -> str:
    """The code of a mean.

    >>> _mean(["a"]), _mean(["a", "b"])
    ('a', '(a + b) / 2')
    """
    return values[0] if len(values) == 1 else f"({' + '.join(values)}) / {len(values)}"
