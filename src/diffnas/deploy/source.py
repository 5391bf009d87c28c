"""A trained network as one readable file of plain PyTorch, which needs nothing but torch and its weights."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from textwrap import wrap
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffnas.convolutions import CONVOLUTIONS, Convolution
from diffnas.deploy import source_chain, source_transformer
from diffnas.deploy.check import Run
from diffnas.genotype import Genotype
from diffnas.nets.frames.chain import Chain
from diffnas.nets.frames.darts import Darts
from diffnas.nets.frames.nas_bench_201 import NasBench201
from diffnas.nets.frames.plan import CellPlan
from diffnas.nets.sites import chosen
from diffnas.nets.trained import Trained, stored
from diffnas.run_files import WEIGHTS
from diffnas.skeleton import Chain as ChainSkeleton
from diffnas.skeleton import Skeleton, StemKind, skeleton_of

_WIDTH = 120  # characters in a line


def _convolution(of: Convolution) -> str:
    """The code that makes a convolution, with ``{step}`` where its stride goes.

    >>> _convolution(CONVOLUTIONS["dil_conv_3x3_layers2_width4"])
    'sep_conv(channels, 3{step}, dilation=2, width=4)'
    """
    if of.dense:
        return f"relu_conv_norm(channels, channels, {of.kernel}{{step}})"
    unusual = f", dilation={of.dilation}" if of.dilation > 1 else ""
    unusual += f", width={of.width}" if of.width > 1 else ""
    return f"{'Separable' if of.layers == 1 else 'sep_conv'}(channels, {of.kernel}{{step}}{unusual})"


# The code that makes each operation, in the names of the template. ``{stride}`` is the stride, and ``{step}`` is the
# stride after a comma, or nothing for a stride of 1.
OPERATIONS: Mapping[str, str] = {
    "max_pool_3x3": "nn.MaxPool2d(3, {stride}, padding=1)",
    "avg_pool_3x3": "nn.AvgPool2d(3, {stride}, padding=1, count_include_pad=False)",
    "skip_connect": "nn.Identity()",
    "conv_7x1_1x7": "conv_7x1_1x7(channels{step})",
    **{name: _convolution(of) for name, of in CONVOLUTIONS.items()},
    "res_3": "residual({width}, {out}, {out}{step})",
    "res_3_half": "residual({width}, {out} // 2, {out}{step})",
    **{f"mb_{k}_{e}": f"inverted({{width}}, {{out}}, {k}, {e}{{step}})" for k in (3, 5, 7) for e in range(1, 7)},
    **{f"next_{k}": f"spread({{width}}, {{out}}, {k}{{step}})" for k in (5, 7)},
}
_REDUCING_SKIP = "FactorizedReduce(channels, channels)"
_HELPERS = (
    "relu_conv_norm",
    "conv_7x1_1x7",
    "FactorizedReduce",
    "Separable",
    "sep_conv",
    "ResidualBlock",
    "residual",
    "inverted",
    "spread",
    "Patches",
    "Branch",
    "Nothing",
    "TokenNorm",
    "Scaled",
    "Positions",
    "AttentionPool",
    "Attention",
    "Mlp",
    "Gated",
    "Around",
    "Pooled",
)
# The parts that a helper needs.
_PARTS = {
    "sep_conv": {"Separable", "depthwise"},
    "Separable": {"depthwise"},
    "ResidualBlock": {"relu_conv_norm"},
    "residual": {"relu_conv_norm"},
    "inverted": {"depthwise"},
    "spread": {"depthwise"},
    "Positions": {"Table"},
    "Attention": {"Table"},
    "Around": {"depthwise"},
}


def write_source(trained: Trained, pictures: Tensor, path: Path) -> Run:
    """Write the network as Python at ``path`` and its weights beside it; return a function that runs them.

    Raises:
        ValueError: as ``source``.
    """
    network = written(trained, source(trained), path)

    def run(batch: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(batch)
        return logits

    return run


def written(trained: Trained, text: str, path: Path) -> Any:
    """The network that a source builds, after the source was written at ``path`` and its weights beside it.

    The written file is imported and run, so that the check tests the file itself.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in stored(trained.network).items()}
    save_file(weights, path.with_name(WEIGHTS))
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("exported_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(path.with_name(WEIGHTS))


def rendered(template: str, **values: Any) -> str:
    """The text of a template of this room with its values."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,
        loader=FunctionLoader(lambda name: (files("diffnas.deploy") / name).read_text(encoding="utf-8")),
    )
    return environment.get_template(template).render(**values)


def source(trained: Trained) -> str:
    """The Python source of a network: its operations, cells and constants, and a function that loads its weights.

    The weights have the same names as in ``network.safetensors``.

    Raises:
        ValueError: if the frame or an operation is the user's own, or if an operation draws random numbers.
    """
    genotype, parts = trained.genotype, _parts(trained)
    return rendered(
        "network.py.jinja",
        **parts,
        used=helpers(parts),
        shape=", ".join(f"{int(size)}" for size in (trained.channels, *trained.size)),
        described=list(described(genotype)),
        classes=[quoted(name) for name in trained.classes],
        squashed="sigmoid()" if trained.several else "softmax(dim=1)",
        channels=trained.channels,
        size=tuple(trained.size),
        levels=None if trained.levels is None else _tuple(trained.levels),
        mean=_tuple(trained.mean),
        std=_tuple(trained.std),
    )


def helpers(parts: Mapping[str, Any]) -> set[str]:
    """The classes and functions of the template that the code in ``parts`` needs."""
    words = set(re.findall(r"\w+", str(parts)))
    used = words.intersection(_HELPERS)
    return used.union(*(_PARTS.get(name, set()) for name in used))


def _parts(trained: Trained) -> dict[str, Any]:
    """What the template needs of the cells and of what stands around them."""
    refuse_operations(trained)
    frame, skeleton = trained.network.frame, skeleton_of(trained.genotype.skeleton)
    if type(frame) is Chain and skeleton.tokens:
        return {"cells": [], "shortcuts": [], **source_transformer.parts(trained, frame)}
    if type(frame) is Chain:
        plans, parts = frame.plan, source_chain.parts(trained, frame.plan, _operation)
    elif type(frame) is Darts or type(frame) is NasBench201:
        plans, parts = frame.plan, _stacked(trained, frame.plan)
    else:
        raise ValueError(
            f"{type(frame).__name__!r} is a frame of your own, whose source is not known here. Export to onnx instead."
        )
    head = _head(skeleton, plans[-1].out, len(trained.classes))
    return {"cells": [], "shortcuts": [], "head": head, **parts}


def refuse_operations(trained: Trained) -> None:
    """Refuse a network with an operation whose source is not known here, or that gives another output every time."""
    for op in (op for listed in chosen(trained.genotype).values() for op, _ in listed):
        if op == "noise":
            raise ValueError("its cells have 'noise' operations, which give another output every time.")
        if op not in OPERATIONS and op not in source_transformer.OPERATIONS:
            raise ValueError(
                f"{op!r} is an operation of your own, whose source is not known here. Export to onnx instead."
            )


def _stacked(trained: Trained, plans: Sequence[CellPlan]) -> dict[str, Any]:
    """What the template needs for cells that are stacked as in DARTS and in NAS-Bench-201."""
    genotype, stem = trained.genotype, trained.built["stem"]
    skeleton = skeleton_of(genotype.skeleton)
    kinds = {place.kind: place.reduces for place in plans if place.kind is not None}
    return {
        "cells": [_cell(kind, genotype, reduces, skeleton.single_path) for kind, reduces in kinds.items()],
        "places": [_place(place, genotype, skeleton) for place in plans],
        "stem": _stem(stem, trained.channels, plans[0].previous),
        "steps": _steps(skeleton, stem),
    }


def _cell(kind: str, genotype: Genotype, reduces: bool, alone: bool) -> dict[str, Any]:
    """The values with which the template writes the class of a kind of cell."""
    cell, (connections, output) = genotype.cells[kind], genotype.built(kind)
    ops = [
        f"{_operation(op, 2 if reduces and source < cell.inputs else 1)},  # node {source} -> node {target}"
        for op, source, target in connections
    ]
    terms: dict[int, list[str]] = {}
    for index, (_, source, target) in enumerate(connections):
        terms.setdefault(target, []).append(f"self.ops[{index}](node{source})")
    read = _read(connections, output)
    steps = [
        f"node{node} = {_prepared(node, cell.inputs)}" for node in range(cell.inputs) if node in read and not alone
    ]
    for node in range(cell.inputs, cell.nodes):
        if node in read:
            steps += _sum(f"node{node}", terms.get(node, ["torch.zeros_like(node0)"]))
    values = [f"node{node}" for node in output]
    steps.append(f"return {values[0]}" if len(values) == 1 else f"return torch.cat([{', '.join(values)}], dim=1)")
    before = "before: int, previous: int" if cell.inputs == 2 else "previous: int"
    halves = ", after_reduction: bool = False" if cell.inputs == 2 else ""
    return {
        "name": _class(kind),
        "kind": kind,
        "signature": "channels: int" if alone else f"{before}, channels: int{halves}",
        "preprocess": [] if alone else _preprocess(cell.inputs),
        "ops": ops,
        "inputs": "node0: Tensor" if alone else "older: Tensor, newer: Tensor",
        "steps": steps,
    }


def _operation(op: str, stride: int, width: str = "channels", out: str = "channels") -> str:
    made = _REDUCING_SKIP if op == "skip_connect" and stride == 2 else OPERATIONS[op]
    return made.format(stride=stride, step=f", {stride}" if stride > 1 else "", width=width, out=out)


def _read(connections: Sequence[tuple[str, int, int]], output: Sequence[int]) -> set[int]:
    """The nodes on which the output depends."""
    read = set(output)
    for _, source, target in reversed(connections):  # sorted by target, so all readers of a node come after it
        if target in read:
            read.add(source)
    return read


def _prepared(node: int, inputs: int) -> str:
    value = "newer" if node == inputs - 1 else "older"
    return f"self.preprocess[{node}]({value})"


def _preprocess(inputs: int) -> list[str]:
    newer = "relu_conv_norm(previous, channels, 1)"
    if inputs == 1:
        return [f"self.preprocess = nn.ModuleList([{newer}])"]
    return [
        "older: nn.Module = relu_conv_norm(before, channels, 1)",
        "if after_reduction:",
        "    older = FactorizedReduce(before, channels)",
        f"self.preprocess = nn.ModuleList([older, {newer}])",
    ]


def _sum(name: str, terms: Sequence[str]) -> list[str]:
    """The lines of an assignment ``name = term + ...``; several lines if one would be too long."""
    line = f"{name} = {' + '.join(terms)}"
    if len(line) + 8 <= _WIDTH:
        return [line]
    return [f"{name} = (", f"    {terms[0]}", *(f"    + {term}" for term in terms[1:]), ")"]


def _place(place: CellPlan, genotype: Genotype, skeleton: Skeleton) -> str:
    if place.kind is None:
        return f"ResidualBlock({place.previous}, {place.channels})"
    if skeleton.single_path:
        return f"{_class(place.kind)}({place.channels})"
    if genotype.cells[place.kind].inputs == 1:
        return f"{_class(place.kind)}({place.previous}, {place.channels})"
    halves = ", after_reduction=True" if place.after_reduction else ""
    return f"{_class(place.kind)}({place.before}, {place.previous}, {place.channels}{halves})"


def _stem(stem: StemKind, before: int, out: int) -> dict[str, list[str]]:
    def conv_norm(before: int, out: int, stride: int) -> list[str]:
        conv = f"nn.Conv2d({before}, {out}, 3, stride={stride}, padding=1, bias=False)"
        return [conv, f"nn.BatchNorm2d({out})"]

    if stem == "imagenet":
        first = [*conv_norm(before, out // 2, 2), "nn.ReLU()", *conv_norm(out // 2, out, 2)]
        return {"first": first, "second": ["nn.ReLU()", *conv_norm(out, out, 2)]}
    return {"first": conv_norm(before, out, {"cifar": 1, "cifar-half": 2}[stem])}


def _head(skeleton: Skeleton, channels: int, classes: int) -> list[str]:
    wide = skeleton.head if isinstance(skeleton, ChainSkeleton) else 0
    conv = [f"nn.Conv2d({channels}, {wide}, 1, bias=False)"] if wide else []
    norm = [f"nn.BatchNorm2d({wide or channels})", "nn.ReLU()"] if skeleton.normed_head else []
    return [*conv, *norm, "nn.AdaptiveAvgPool2d(1)", "nn.Flatten()", f"nn.Linear({wide or channels}, {classes})"]


def _steps(skeleton: Skeleton, stem: StemKind) -> list[str]:
    """The lines that compute the head's input from the normalized pictures; both are called ``x``."""
    if skeleton.single_path:
        return ['x = self.stem["first"](x)', "for cell in self.cells:", "    x = cell(x)"]
    second = 'self.stem["second"](older)' if stem == "imagenet" else "older"
    return [
        'older = self.stem["first"](x)',
        f"x = {second}",
        "for cell in self.cells:",
        "    older, x = x, cell(older, x)",
    ]


def _class(kind: str) -> str:
    return f"{kind.capitalize()}Cell"


def described(genotype: Genotype) -> Iterator[str]:
    """Lines that say what each node of each cell is, for the head of a source."""
    for kind, cell in genotype.cells.items():
        for node in range(cell.inputs, cell.nodes):
            terms = [f"{op}({source})" for op, source, _ in cell.incoming(node)]
            line = f"{kind} {node} = {' + '.join(terms) or 'nothing'}"
            yield from wrap(line, _WIDTH - 4, subsequent_indent="    ")


def quoted(text: str) -> str:
    """A text as a Python literal, in double quotes where formatters prefer them.

    >>> print(quoted("cat"), quoted("cat's"), quoted('a "cat"'))
    "cat" "cat's" 'a "cat"'
    """
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in text else plain


def _tuple(numbers: Iterable[float]) -> str:
    listed = [repr(float(number)) for number in numbers]
    return f"({', '.join(listed)})" if len(listed) > 1 else f"({listed[0]},)"
