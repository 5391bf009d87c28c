"""Genotypes as JSON: the form that run folders keep."""

from __future__ import annotations

import json
from typing import Any

from diffnas.genotype.record import Cell, Connection, Genotype
from diffnas.untrusted import json_text

_SCHEMA, _VERSION = "diffnas/genotype", 1


def to_json(genotype: Genotype) -> str:
    """The genotype as JSON, with a schema name and a version: the form that run folders keep."""
    cells = {
        kind: {
            "inputs": cell.inputs,
            "nodes": cell.nodes,
            "connections": [connection._asdict() for connection in cell.connections],
            "output": list(cell.output),
        }
        for kind, cell in genotype.cells.items()
    }
    record = {"schema": _SCHEMA, "version": _VERSION, "skeleton": genotype.skeleton, "cells": cells}
    return json.dumps(record, indent=1)


def from_json(text: str) -> Genotype:
    """The genotype in the JSON of ``to_json``.

    Raises:
        ValueError: for any other text: another schema or version, a missing field, a field of the wrong type.
    """
    try:
        record = json_text.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}.") from None
    return from_record(record)


def from_record(record: Any) -> Genotype:
    """The genotype in the parsed JSON of ``to_json``; the errors are those of ``from_json``."""
    schema, version = _take(record, "schema", str), _take(record, "version", int)
    if schema != _SCHEMA or version != _VERSION:
        raise ValueError(
            f"expected schema {_SCHEMA!r}, version {_VERSION}, got {schema[:80]!r}, version {version}; "
            "a newer diffnas may read it."
        )
    cells = {kind: _cell(cell) for kind, cell in _take(record, "cells", dict).items()}
    return Genotype(skeleton=_take(record, "skeleton", str), cells=cells)


def _cell(record: Any) -> Cell:
    listed = _take(record, "connections", list)
    output = _take(record, "output", list)
    if not all(type(node) is int for node in output):
        raise ValueError(f"'output' must list numbers of nodes, got {str(output)[:80]}.")
    return Cell(
        inputs=_take(record, "inputs", int),
        nodes=_take(record, "nodes", int),
        connections=tuple(
            Connection(_take(c, "op", str), _take(c, "source", int), _take(c, "target", int)) for c in listed
        ),
        output=tuple(output),
    )


def _take(record: Any, key: str, kind: type) -> Any:
    """``record[key]``; a ValueError if it is missing or not exactly of the type ``kind``."""
    if not isinstance(record, dict) or key not in record:
        raise ValueError(f"a genotype's JSON lacks {key!r} in {str(record)[:80]!r}.")
    if type(record[key]) is not kind:
        raise ValueError(f"{key!r} must be a {kind.__name__}, got {str(record[key])[:80]!r}.")
    return record[key]
