"""The parts of a transformer's source code: its branches, one on each line."""

from __future__ import annotations

from typing import Any

from torch import nn

from diffnas.genotype import Genotype
from diffnas.nets.frames.chain import Chain, Patches
from diffnas.nets.frames.transformer import Positions
from diffnas.nets.slot import Grid
from diffnas.nets.trained import Trained
from diffnas.skeleton import Transformer, skeleton_of

_INDENT = " " * 16  # of a branch in the template

# The code that makes each operation, in the names of the template.
OPERATIONS = {
    **{f"attn_{h}": f"Attention({{width}}, {{width}}, {h}, {{grid}})" for h in (1, 2, 3, 4, 6, 8, 12)},
    "attn_half": "Attention({width}, {width} // 2, 2, {grid})",
    **{f"window_{side}": f"Attention({{width}}, {{width}}, 4, ({side}, {side}), windows=True)" for side in (4, 7)},
    **{f"sepconv_{k}": f"Around({{width}}, {k}, inner=2 * {{width}})" for k in (3, 5, 7)},
    **{f"dwconv_{k}": f"Around({{width}}, {k})" for k in (3, 5, 7)},
    **{f"pool_{k}": f"Pooled({k})" for k in (3, 5)},
    **{f"mlp_{r}": f"Mlp({{width}}, {r} * {{width}})" for r in (1, 2, 3, 4)},
    **{f"glu_{r}": f"Gated({{width}}, {r} * {{width}})" for r in (1, 2, 3)},
}


def parts(trained: Trained, frame: Chain) -> dict[str, Any]:
    """The values that the template needs for a transformer of pictures.

    Raises:
        ValueError: if its layers are graphs of operations.
    """
    skeleton = skeleton_of(trained.genotype.skeleton)
    assert isinstance(skeleton, Transformer)
    stem = list(frame.stem.get_submodule("first").children())
    positions = stem.pop()
    assert isinstance(positions, Positions)
    width, rows, columns = positions.table.values.shape
    classes = len(trained.classes)
    layers = [_layer(each, trained.channels, width) for each in stem]
    made = branches(trained, len(frame.cells), width, (rows, columns))
    pool = {"mean": "nn.AdaptiveAvgPool2d(1)", "attend": f"AttentionPool({width})"}[skeleton.pool]
    return {
        "places": made["places"],
        "stem": {"first": [*layers, f"Positions({width}, {rows}, {columns})"]},
        "steps": ['x = self.stem["first"](x)', "for branch in self.cells:", "    x = x + branch(x)"],
        "head": [f"TokenNorm({width}, {made['norm']})", pool, "nn.Flatten()", f"nn.Linear({width}, {classes})"],
    }


def branches(trained: Trained, count: int, width: int, grid: Grid) -> dict[str, Any]:
    """The code that makes each of ``count`` branches, ``places``, and that of their kind of norm, ``norm``.

    Raises:
        ValueError: if its layers are graphs of operations.
    """
    genotype = trained.genotype
    if any(cell.nodes > 2 for cell in genotype.cells.values()):
        raise ValueError("its layers are graphs, whose source is not known here. Export to onnx instead.")
    skeleton = skeleton_of(genotype.skeleton)
    assert isinstance(skeleton, Transformer)
    norm = f'"{skeleton.norm}"'
    kinds = skeleton.kinds_at(count // len(skeleton.kinds), genotype.cells)
    return {"places": [_branch(genotype, kind, width, grid, norm) for kind in kinds], "norm": norm}


def _branch(genotype: Genotype, kind: str, width: int, grid: Grid, norm: str) -> str:
    ops = [OPERATIONS[each.op].format(width=width, grid=grid) for each in genotype.cells[kind].connections]
    terms = [f"Scaled({width}, {norm}, {op})" for op in ops]
    line = f"Branch({', '.join(terms)})"
    if len(line) + len(_INDENT) < 120:
        return line
    return "\n".join(["Branch(", *(f"{_INDENT}    {term}," for term in terms), f"{_INDENT})"])


def _layer(layer: nn.Module, before: int, width: int) -> str:
    if isinstance(layer, Patches):
        return f"Patches({before}, {width}, {layer.side}, bias=True)"
    if isinstance(layer, nn.Conv2d):
        return f"nn.Conv2d({layer.in_channels}, {layer.out_channels}, 3, 2, 1, bias=False)"
    return f"nn.BatchNorm2d({layer.num_features})" if isinstance(layer, nn.BatchNorm2d) else "nn.GELU()"
