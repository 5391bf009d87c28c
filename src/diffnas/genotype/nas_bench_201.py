"""The architecture strings of NAS-Bench-201 (Dong & Yang, 2020)."""

from __future__ import annotations

import re
from itertools import groupby

from diffnas.genotype.record import OP_NAME, Cell, Connection, Genotype
from diffnas.skeleton import NAS_BENCH_201

MOST_NODES = 12  # in a cell with a canonical string, because its length doubles with every node; the benchmark has 4


def parse_nas_bench_201(text: str) -> Genotype:
    """The genotype of an architecture string, in which edges may be left out; see :func:`parse`.

    Raises:
        ValueError: for any other text; the message names the node and what was expected there.

    >>> parse_nas_bench_201("|nor_conv_3x3~0|+|none~0|skip_connect~1|").cells["normal"].nodes
    3
    """
    connections = []
    parts = text.split("+")
    for target, part in enumerate(parts, start=1):
        for edge in part.strip().strip("|").split("|"):
            match = re.fullmatch(rf"\s*({OP_NAME})~(\d{{1,3}})\s*", edge)
            if match is None or int(match[2]) >= target:
                raise ValueError(
                    f"node {target} of {text[:80]!r}: expected op~source with a source below {target}, "
                    f"got {edge[:80]!r}."
                )
            if match[1] != "none":
                connections.append(Connection(match[1], int(match[2]), target))
    ordered = tuple(sorted(connections, key=lambda c: (c.target, c.source)))
    cell = Cell(inputs=1, nodes=len(parts) + 1, connections=ordered, output=(len(parts),))
    return Genotype(skeleton=NAS_BENCH_201.name, cells={"normal": cell})


def to_nas_bench_201(genotype: Genotype) -> str:
    """The architecture string of a NAS-Bench-201 cell (Dong & Yang, 2020), with ``none`` on absent edges.

    Raises:
        ValueError: for a genotype of another skeleton.

    >>> to_nas_bench_201(parse_nas_bench_201("|nor_conv_3x3~0|+|skip_connect~1|"))
    '|nor_conv_3x3~0|+|none~0|skip_connect~1|'
    """
    ops = _ops_between(genotype)
    nodes = genotype.cells["normal"].nodes
    edges = [
        [f"{op}~{source}" for source in range(t) for op in ops.get((source, t), ["none"])] for t in range(1, nodes)
    ]
    return "+".join(f"|{'|'.join(names)}|" for names in edges)


def canonical(genotype: Genotype) -> str:
    """A string for a cell; two cells with one string compute the same function.

    The rule is that of Dong & Yang (2020), which gives 6,466 strings for the 15,625 cells of the benchmark. Cells with
    different strings may still compute the same, because an absent edge stays in the string as ``#``.

    Raises:
        ValueError: for a genotype of another skeleton, or of more than 12 nodes.

    >>> one, two = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|", "|none~0|+|nor_conv_3x3~0|skip_connect~1|"
    >>> canonical(parse_nas_bench_201(one)) == canonical(parse_nas_bench_201(two))
    True
    """
    ops = _ops_between(genotype)
    nodes = genotype.cells["normal"].nodes
    if nodes > MOST_NODES:
        raise ValueError(f"a cell of {nodes} nodes has no canonical string; only cells of at most {MOST_NODES} do.")
    values = ["0"]
    for target in range(1, nodes):
        terms = [_term(values[s], op) for s in range(target) for op in ops.get((s, target), ["none"])]
        values.append("+".join(sorted(terms)))
    return values[-1]


def _term(value: str, op: str) -> str:
    if op == "none" or value == "#":
        return "#"
    return value if op == "skip_connect" else f"({value})@{op}"


def is_nas_bench_201(genotype: Genotype) -> bool:
    """Whether a genotype is one cell with the skeleton of NAS-Bench-201; only such a one can be in the benchmark."""
    return genotype.skeleton == NAS_BENCH_201.name and genotype.depth is None


def _ops_between(genotype: Genotype) -> dict[tuple[int, int], list[str]]:
    if genotype.skeleton != NAS_BENCH_201.name:
        raise ValueError(f"expected a 'nas-bench-201' genotype, got one of the {genotype.skeleton!r} skeleton.")
    if genotype.depth is not None:
        raise ValueError("an architecture string holds one cell; this genotype has one for each place in the net.")
    ordered = sorted(genotype.cells["normal"].connections, key=lambda c: (c.source, c.target))
    return {edge: [c.op for c in group] for edge, group in groupby(ordered, key=lambda c: (c.source, c.target))}
