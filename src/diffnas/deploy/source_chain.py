"""The parts of a residual chain's source code: its layers, one on each line, in place of classes of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diffnas.genotype import Genotype
from diffnas.lookup import lookup
from diffnas.nets.frames.plan import CellPlan
from diffnas.nets.trained import Trained
from diffnas.skeleton import Chain, Shortcut, StemKind, skeleton_of


def parts(trained: Trained, layers: Sequence[CellPlan], operation: Callable[..., str]) -> dict[str, Any]:
    """The values that the template needs for a chain.

    Args:
        trained: the chain.
        layers: the plan of its layers, with their channels.
        operation: gives the code of an operation from its name, its stride, and the channels before and after it.
    """
    skeleton = skeleton_of(trained.genotype.skeleton)
    assert isinstance(skeleton, Chain)
    return {
        "places": [_branch(trained.genotype, each, operation) for each in layers],
        "shortcuts": [_shortcut(skeleton.shortcut, each) for each in layers],
        "stem": {"first": _stem(trained.built["stem"], trained.channels, layers[0].previous)},
        "steps": [
            'x = self.stem["first"](x)',
            "for shortcut, branch in zip(self.shortcuts, self.cells):",
            "    x = shortcut(x) + branch(x)",
        ],
    }


def _branch(genotype: Genotype, layer: CellPlan, operation: Callable[..., str]) -> str:
    assert layer.kind is not None
    stride, width, out = 2 if layer.reduces else 1, str(layer.previous), str(layer.channels)
    ops = [operation(each.op, stride, width, out) for each in genotype.cells[layer.kind].connections]
    return f"Branch({', '.join(ops)})"


def _shortcut(beside: Shortcut, layer: CellPlan) -> str:
    before, out, stride = layer.previous, layer.channels, 2 if layer.reduces else 1
    if (before, stride) == (out, 1):
        return "nn.Identity()"
    if beside == "none":
        return "Nothing()"
    norm = f"nn.BatchNorm2d({out})"
    if beside == "patch":
        return f"nn.Sequential(Patches({before}, {out}, {stride}), {norm})"
    side = stride if beside == "pool" else 1
    pool = f"nn.AvgPool2d({side}, {stride}, ceil_mode=True), " if stride > 1 else ""
    return f"nn.Sequential({pool}nn.Conv2d({before}, {out}, 1, bias=False), {norm})"


def _stem(stem: StemKind, before: int, out: int) -> list[str]:
    def conv(before: int, out: int, kernel: int, stride: int) -> list[str]:
        made = f"nn.Conv2d({before}, {out}, {kernel}, {stride}, padding={kernel // 2}, bias=False)"
        return [made, f"nn.BatchNorm2d({out})", "nn.ReLU()"]

    stems = {
        "cifar": conv(before, out, 3, 1),
        "cifar-half": conv(before, out, 3, 2),
        "imagenet": [*conv(before, max(out // 2, 1), 3, 2), *conv(max(out // 2, 1), out, 3, 2)],
        "resnet": [*conv(before, out, 7, 2), "nn.MaxPool2d(3, 2, padding=1)"],
        "patch": [f"Patches({before}, {out}, 4)", f"nn.BatchNorm2d({out})"],
    }
    return lookup("stem", stem, stems)
