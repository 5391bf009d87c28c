"""Genotypes as text, in the forms that papers and their repositories print. A text is read as data, never run."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence

from diffnas.genotype.chain import is_chain, parse_chain, to_chain
from diffnas.genotype.json_form import from_json, to_json
from diffnas.genotype.nas_bench_201 import is_nas_bench_201, parse_nas_bench_201, to_nas_bench_201
from diffnas.genotype.record import NODE_LIMIT, Cell, Connection, Genotype
from diffnas.skeleton import DARTS, RECURRENT

_LENGTH_LIMIT = 100_000  # characters; Python's own parser may crash on longer texts


def parse(text: str) -> Genotype:
    """The genotype that a text describes. The text is read as data; nothing in it is ever run.

    The first characters decide which form it is:

    * ``Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=..., reduce_concat=...)``
      with pairs (operation, source), entries 2k and 2k+1 for node k+2 (DARTS; Liu et al., 2019);
    * the same with triples (operation, target, source), any number for each node (FairDARTS; Chu et al., 2020);
      and with ``cell0``, ``cell1``, ... in place of normal and reduce if each cell was searched by itself;
    * ``Genotype(recurrent=[('relu', 0), ...], concat=range(1, 9))`` with pairs (operation, source), entry k for node
      k+1 (the recurrent cell of DARTS), or with triples as above;
    * ``|op~0|+|op~0|op~1|+...`` (NAS-Bench-201; Dong & Yang, 2020), in which edges may be left out;
    * ``chain:1-1-1 | res_3 | none | mb_3_6``, a skeleton and the operation of each of its layers; a transformer has
      those of each branch, or of both branches of all layers, as in ``transformer | attn_4 | mlp_4``;
    * the JSON of ``to_json``.

    ``none`` is dropped, because it means that there is no connection.

    Raises:
        ValueError: for any other text; the message says where and what was expected there.

    >>> parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|").cells["normal"].connections
    (Connection(op='nor_conv_3x3', source=0, target=1), Connection(op='skip_connect', source=1, target=2))
    """
    text = text.strip()
    if text.startswith("{"):
        return from_json(text)
    if text.startswith("|"):
        return parse_nas_bench_201(text)
    if text.startswith(("chain", "transformer")):
        return parse_chain(text)
    return _parse_darts(text)


def to_text(genotype: Genotype) -> str:
    """The genotype in the shortest form that other code reads and that holds all of it.

    That is a NAS-Bench-201 string for its skeleton. For other skeletons it is pairs if every node has two connections,
    else triples. The few cells that fit no such form, such as cells of one input in the DARTS skeleton, become JSON.
    """
    if is_nas_bench_201(genotype):
        text = to_nas_bench_201(genotype)
    elif is_chain(genotype):
        text = to_chain(genotype)
    elif genotype.skeleton == RECURRENT.name or (
        genotype.skeleton == DARTS.name and all(cell.inputs == 2 for cell in genotype.cells.values())
    ):
        text = _to_darts(genotype)
    else:
        return to_json(genotype)
    return text if parse(text) == genotype else to_json(genotype)


class _UnexpectedError(ValueError):
    def __init__(self, node: ast.AST, expected: str) -> None:
        super().__init__(expected)
        self.node, self.expected = node, expected


def _parse_darts(text: str) -> Genotype:
    tree = _syntax(text)
    try:
        fields = _call_fields(tree)
        recurrent = RECURRENT.kinds[0] in fields
        inputs = 1 if recurrent else 2
        return Genotype(
            skeleton=RECURRENT.name if recurrent else DARTS.name,
            cells={
                kind: _darts_cell(listed, fields[_concat(kind)], inputs)
                for kind, listed in fields.items()
                if not kind.endswith("concat")
            },
        )
    except _UnexpectedError as error:
        given = (ast.get_source_segment(text, error.node) or text)[:60]
        line, column = getattr(error.node, "lineno", 1), getattr(error.node, "col_offset", 0) + 1
        raise ValueError(f"line {line}, column {column}: expected {error.expected}, got {given!r}.") from None


def _syntax(text: str) -> ast.Module:
    try:
        if len(text) > _LENGTH_LIMIT:
            raise ValueError(f"{len(text)} characters are too many")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd escapes; the errors below say what is wrong
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            "expected Genotype(normal=[...], normal_concat=..., reduce=[...], reduce_concat=...), "
            "Genotype(recurrent=[...], concat=...), "
            f"a NAS-Bench-201 string |op~0|+|op~0|op~1|+..., or JSON; got {text[:60]!r} ({error})."
        ) from None


def _call_fields(tree: ast.Module) -> dict[str, ast.expr]:
    """The arguments of the only call, ``Genotype(...)``, by name; the call may be assigned to a variable."""
    names: Sequence[str] = ("normal", "normal_concat", "reduce", "reduce_concat")
    call = tree.body[0].value if len(tree.body) == 1 and isinstance(tree.body[0], (ast.Expr, ast.Assign)) else tree
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
        raise _UnexpectedError(call, "Genotype(...), a NAS-Bench-201 string or JSON")
    given = [*zip(names, call.args, strict=False), *((word.arg, word.value) for word in call.keywords)]
    fields = {name: value for name, value in given if name is not None}
    own = [name for name in fields if re.fullmatch(r"cell\d+", name)]
    if RECURRENT.kinds[0] in fields:
        own = list(RECURRENT.kinds)
    if own:
        names = [name for kind in own for name in (kind, _concat(kind))]
    if set(fields) != set(names) or len(call.args) + len(call.keywords) != len(names):
        raise _UnexpectedError(call, f"the arguments {', '.join(names)}, each once")
    return {name: fields[name] for name in names}


def _concat(kind: str) -> str:
    """The argument that names the output nodes of a kind of cell."""
    return "concat" if kind in RECURRENT.kinds else f"{kind}_concat"


def _darts_cell(listed: ast.expr, concat: ast.expr, inputs: int) -> Cell:
    """The cell in a list. In pairs, each node has as many connections as the cell has inputs."""
    entries = [_items(entry, "(op, source) or (op, target, source)") for entry in _items(listed, "a list")]
    sizes = {len(entry) for entry in entries}
    if not sizes <= {3} and not (sizes == {2} and len(entries) % inputs == 0):
        each = "two" if inputs == 2 else "one"
        raise _UnexpectedError(listed, f"pairs, {each} for each node, or triples only")
    connections = []
    for index, (op, *numbers) in enumerate(entries):
        target = inputs + index // inputs if len(numbers) == 1 else _number(numbers[0])
        connections.append(Connection(_name(op), _number(numbers[-1]), target))
    output = _numbers(concat)
    highest = max([inputs, *output, *(connection.target for connection in connections)])
    try:
        return Cell(inputs=inputs, nodes=highest + 1, connections=_tidy(connections), output=output)
    except ValueError as error:
        raise _UnexpectedError(listed, f"a valid cell ({str(error).rstrip('.')})") from None


def _tidy(connections: list[Connection]) -> tuple[Connection, ...]:
    return tuple(sorted((c for c in connections if c.op != "none"), key=lambda c: c.target))


def _items(node: ast.expr, expected: str) -> list[ast.expr]:
    if not isinstance(node, (ast.List, ast.Tuple)):
        raise _UnexpectedError(node, expected)
    return node.elts


def _name(node: ast.expr) -> str:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        raise _UnexpectedError(node, "the name of an operation, in quotes")
    return node.value


def _number(node: ast.expr) -> int:
    if not (isinstance(node, ast.Constant) and type(node.value) is int and node.value < NODE_LIMIT):
        raise _UnexpectedError(node, f"the number of a node, below {NODE_LIMIT}")
    return node.value


def _numbers(node: ast.expr) -> tuple[int, ...]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        if node.keywords or len(node.args) not in (1, 2):
            raise _UnexpectedError(node, "range(first, last + 1)")
        return tuple(range(*map(_number, node.args)))
    return tuple(map(_number, _items(node, "a list of nodes or a range")))


def _to_darts(genotype: Genotype) -> str:
    cells = genotype.cells
    paired = all(
        len(cell.incoming(t)) == cell.inputs for cell in cells.values() for t in range(cell.inputs, cell.nodes)
    )
    parts = []
    for kind, cell in cells.items():
        listed = [(c.op, c.source) if paired else (c.op, c.target, c.source) for c in cell.connections]
        first, last = cell.output[0], cell.output[-1]
        span = cell.output == tuple(range(first, last + 1))
        parts.append(
            f"{kind}={listed}, {_concat(kind)}=" + (f"range({first}, {last + 1})" if span else f"{[*cell.output]}")
        )
    return f"Genotype({', '.join(parts)})"
