"""The latency of networks on the user's machine.

It is predicted by a table with the seconds of each operation, and by a line from sums of operations to networks. The
table is for one machine and one version of the runtime. The user's cache keeps it, so each operation is timed once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import nn

from diffnas.deploy.runtimes import RUNTIMES, machine, runtime_named, version_of
from diffnas.deploy.timing import Line, Timed, fit, time_all
from diffnas.engine.costing import Counting, Reach
from diffnas.engine.seeds import fixed_random
from diffnas.files import digest, write_bytes_atomically
from diffnas.genotype import Genotype
from diffnas.nets import ops
from diffnas.nets.sites import Spot
from diffnas.nets.sized import Additive, SizedSpace, is_network
from diffnas.untrusted import json_text
from diffnas.version import VERSION

NETWORKS = 12
"""How many random networks are measured to fit the line."""

Seconds = Annotated[float, Field(ge=0, lt=1e6)]
Point: TypeAlias = tuple[Seconds, Seconds]
"""The sum of a network's operations, and its latency."""


class Meter(Protocol):
    """Measures the latency of modules on one sample."""

    def __call__(self, modules: Mapping[str, tuple[nn.Module, tuple[int, ...]]]) -> dict[str, Timed]:
        """The latency of each module on a sample of its shape, by the name of the module."""


def meter(runtime: str, warn: Callable[[str], None]) -> Meter:
    """A meter that measures with a runtime, on one thread. ``warn`` is called if the machine is busy."""

    def measure(modules: Mapping[str, tuple[nn.Module, tuple[int, ...]]]) -> dict[str, Timed]:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            calls = {name: RUNTIMES[runtime](*module) for name, module in modules.items()}
            found = time_all(calls)
        finally:
            torch.set_num_threads(before)
        if any(timed.busy for timed in found.values()):
            warn("the machine is busy, so latencies are processor time, which leaves out the time of other programs.")
        return found

    return measure


class Table(BaseModel):
    """Seconds of operations on one machine.

    Attributes:
        runtime, version: the runtime that ran them, and its version.
        machine: the processor.
        diffnas: the version of diffnas that made the operations.
        threads: how many threads computed.
        seconds: by operation, channels, stride, height and width, such as ``sep_conv_3x3 16 1 32x32``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    runtime: str
    version: str
    machine: str
    diffnas: str
    threads: int = 1
    seconds: dict[str, Seconds] = {}

    def check_here(self) -> None:
        """Refuse a table that was measured on another machine.

        Raises:
            ValueError: with both machines.
        """
        if self.machine != machine():
            raise ValueError(
                f"the latencies of this run were measured on another machine, {self.machine}; this one is "
                f"{machine()}. Go on there, or start anew with another --out."
            )


def cache_folder() -> Path:
    """The folder of the cached tables."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffnas" / "latency"


def _cached(table: Table) -> Path:
    named = f"{table.runtime} {table.version} {table.machine} {table.diffnas}"
    return cache_folder() / f"{digest(named.encode())[:16]}.json"


def known_table(runtime: str) -> Table:
    """The cached table of this machine and of the present versions; an empty one if there is none."""
    empty = Table(runtime=runtime, version=version_of(runtime), machine=machine(), diffnas=VERSION)
    try:
        kept = Table.model_validate(json_text.read_object(_cached(empty)))
    except (OSError, ValueError):  # there is no file, or it is damaged
        return empty
    return kept if kept.model_copy(update={"seconds": {}}) == empty else empty


def extended(table: Table, sized: SizedSpace, measure: Meter) -> Table:
    """The table with all operations of a space's networks. Those that it lacks are timed now, and the cache gets them.

    A user's own operations are timed each time, because their code may have changed, and the cache does not get them.
    """
    own = sized.space.factories
    missing = {}
    for spot in sized.spots():
        if spot.op != "none" and (spot.op in own or key_of(spot) not in table.seconds):
            if _is_free(spot) and spot.op not in own:
                continue
            with fixed_random(0):
                module = ops.build(spot.op, spot.slot, factories=own)
            missing[key_of(spot)] = (module, (spot.slot.width, *spot.size))
    if not missing:
        return table
    seconds = {name: timed.seconds for name, timed in measure(missing).items()}
    table = table.model_copy(update={"seconds": {**table.seconds, **seconds}})
    ours = {name: took for name, took in table.seconds.items() if name.split()[0] not in own}
    write_table(table.model_copy(update={"seconds": ours}))
    return table


def write_table(table: Table) -> None:
    """Write a table into the cache. If that is not possible, the table is not cached."""
    path = _cached(table)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, json.dumps(table.model_dump()).encode())
    except OSError:
        return


def key_of(spot: Spot) -> str:
    """The key of an operation in its place, in a table."""
    side = "x".join(map(str, spot.size))
    return f"{spot.op} {spot.slot.width} {spot.slot.stride} {side}"


def _is_free(spot: Spot) -> bool:
    return spot.op == "skip_connect" and spot.slot.stride == 1


def doubts(table: Table) -> list[str]:
    """A sentence about each pair of numbers that contradict each other: a larger kernel that is faster."""
    found = []
    for name, took in table.seconds.items():
        op, _, rest = name.partition(" ")
        larger = table.seconds.get(f"sep_conv_5x5 {rest}")
        if op == "sep_conv_3x3" and larger is not None and larger < 0.9 * took:
            found.append(f"sep_conv_5x5 is faster than sep_conv_3x3 at {rest}: time again on a quiet machine.")
    return found


@dataclass
class Latency:
    """The latency of networks: a :class:`~diffnas.engine.costing.Costing`.

    Attributes:
        base: the space at the size for which the table and the line hold.
        table: seconds of operations.
        measure: measures networks.
        drawn: the line from sums of operations to networks.
        points: sums and latencies of the networks to which the line is fitted; one that counts twice is there twice.
        known: the seconds of networks that were measured, by their size and cells.
    """

    base: SizedSpace
    table: Table
    measure: Meter
    drawn: Line
    points: tuple[Point, ...] = ()
    known: dict[str, float] = field(default_factory=dict)
    measured: bool = True
    adds_up: bool = False

    def additive(self, sized: SizedSpace) -> Additive:
        """The sum of the operations' seconds; at another size than ``base``, the sum of their multiply-adds."""
        return sums(self.table, sized) if sized.size == self.base.size else Counting("macs").additive(sized)

    def of(self, sized: SizedSpace, genotype: Genotype) -> float:
        """The latency in seconds: predicted at the size of ``base``, measured at other sizes."""
        if sized.size != self.base.size:
            return self.exact(sized, genotype)
        return self.drawn.slope * self.additive(sized).of(sized.space, genotype) + self.drawn.offset

    def exact(self, sized: SizedSpace, genotype: Genotype) -> float:
        """The latency in seconds, measured. Each network is measured once."""
        key = _key(sized, genotype)
        if key not in self.known:
            with fixed_random(0):
                network = sized.network(genotype)
            self.known[key] = self.measure({"network": (network, sized.picture)})["network"].seconds
        return self.known[key]

    def line(self, reach: Reach) -> tuple[float, float]:
        """Slope and offset of the line from a network's sum (see ``additive``) to its latency.

        At the size of ``base`` this is the fitted line. At another size it goes through 0 and through the dearest
        network, which is measured.
        """
        if reach.sized.size == self.base.size:
            return self.drawn.slope, self.drawn.offset
        (*_, dear) = reach.extremes(torch.tensor(reach.sized.space.offered))
        return self.exact(reach.sized, dear) / reach.additive.of(reach.sized.space, dear), 0.0

    def learned(self, sized: SizedSpace, genotype: Genotype) -> Latency:
        """The same with a line that was drawn anew, in which this network counts twice: the fit is best near it."""
        if sized.size != self.base.size or not self.points or _key(sized, genotype) in self.known:
            return self
        point = self.additive(sized).of(sized.space, genotype), self.exact(sized, genotype)
        points = (*self.points, point, point)
        return replace(self, points=points, drawn=_line(points)._replace(error=self.drawn.error))

    def recalled(self, record: Mapping[str, Any]) -> Latency:
        """The same with the line and the points of a record."""
        points = tuple((float(sum_), float(seconds)) for sum_, seconds in record.get("points", ()))
        line = record["line"]
        return replace(self, points=points, drawn=Line(line["slope"], line["offset"], self.drawn.error))

    def record(self) -> dict[str, Any]:
        """The table, the line with its points, and the size, as plain data for the run folder."""
        slope, offset, error = self.drawn
        return {
            "table": self.table.model_dump(),
            "line": {"slope": slope, "offset": offset, "error": None if error != error else error},
            "size": self.base.size._asdict(),
            # Only if the points are known: the records of earlier runs have none.
            **({"points": [list(point) for point in self.points]} if self.points else {}),
        }


def _key(sized: SizedSpace, genotype: Genotype) -> str:
    return f"{sized.size} {genotype!r}"


def _line(points: Sequence[Point]) -> Line:
    return fit([sum_ for sum_, _ in points], [seconds for _, seconds in points])


def sums(table: Table, sized: SizedSpace) -> Additive:
    """The additive cost whose operations cost their seconds in the table; those that it lacks cost 0."""
    return sized.summed(lambda site: table.seconds.get(key_of(site.spot), 0.0))


def random_cells(sized: SizedSpace, count: int = NETWORKS) -> list[Genotype]:
    """At most ``count`` different random cells of a space, the same ones each time."""
    from diffnas.components.discretize import strongest_inputs, winners

    space, found = sized.space, list[Genotype]()
    keep = torch.tensor(space.offered)
    draw = torch.Generator().manual_seed(0)
    for _ in range(4 * count):
        rule = winners if space.in_degree is None else strongest_inputs
        cells = rule(torch.rand(keep.shape, generator=draw, dtype=torch.float64), keep, space)
        if is_network(cells) and cells not in found:
            found.append(cells)
        if len(found) == count:
            break
    return found


def latency(sized: SizedSpace, *, runtime: str | None, warn: Callable[[str], None], count: int = NETWORKS) -> Latency:
    """The latency of a space's networks on this machine. Operations that no cached table has are timed now.

    Args:
        sized: the space at the size of its networks.
        runtime: the name of the runtime; None takes onnxruntime if it is installed, else torch.
        warn: is told if the machine is busy, or if measured numbers contradict each other.
        count: how many random networks are measured to fit the line.

    Raises:
        ValueError: for an unknown runtime.
        ImportError: if the runtime is not installed.
    """
    return timed_latency(sized, *_begun(runtime, warn), warn, count)


def stopwatch(sized: SizedSpace, *, runtime: str | None, warn: Callable[[str], None]) -> Latency:
    """The latency of networks that are each measured: no operation is timed, and nothing is predicted.

    Raises:
        ValueError, ImportError: as ``latency``.
    """
    return Latency(sized, *_begun(runtime, warn), Line(1.0, 0.0, math.nan))


def _begun(runtime: str | None, warn: Callable[[str], None]) -> tuple[Table, Meter]:
    """What is known of the latencies by a runtime on this machine, and what measures more."""
    name = runtime_named(runtime)
    if name == "onnxruntime":
        RUNTIMES[name](nn.Identity(), (1, 1, 1))  # raises if a package is missing, before anything is timed
    return known_table(name), meter(name, warn)


def timed_latency(
    sized: SizedSpace, table: Table, measure: Meter, warn: Callable[[str], None], count: int = NETWORKS
) -> Latency:
    """``latency`` with a given meter, beginning with a given table."""
    table = extended(table, sized, measure)
    for doubt in doubts(table):
        warn(doubt)
    found = Latency(sized, table, measure, Line(1.0, 0.0, 0.0))
    cells = random_cells(sized, count)
    additive = sums(table, sized)
    found.points = tuple((additive.of(sized.space, each), found.exact(sized, each)) for each in cells)
    found.drawn = _line(found.points)
    return found


class _LineRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    slope: Annotated[float, Field(gt=0, lt=1e6)]
    offset: float
    error: float | None


_POINTS = TypeAdapter(list[Point])


def recorded_latency(record: Any, sized: SizedSpace, warn: Callable[[str], None]) -> Latency:
    """The latency in the record of a run that is resumed.

    Raises:
        ValueError: if it was measured on another machine, or if the record is damaged.
    """
    try:
        table = Table.model_validate(record["table"])
        line = _LineRecord.model_validate(record["line"])
        points = _POINTS.validate_python(record.get("points", []))
    except (ValidationError, KeyError, TypeError):
        raise ValueError("the record of the run is damaged: its latencies cannot be read.") from None
    table.check_here()
    error = float("nan") if line.error is None else line.error
    return Latency(sized, table, meter(table.runtime, warn), Line(line.slope, line.offset, error), tuple(points))


def rows(found: Latency) -> Iterable[tuple[str, str]]:
    """The facts about a space's latency, for a table of names and texts."""
    yield "machine", found.table.machine
    yield "runtime", f"{found.table.runtime} {found.table.version}, one thread, one sample at a time"
    yield "networks", f"{found.base.size}"
    for spot in found.base.spots():
        if key_of(spot) in found.table.seconds:
            yield key_of(spot), f"{found.table.seconds[key_of(spot)] * 1e6:,.1f} us"
    slope, offset, error = found.drawn
    missed = "" if error != error else f"; the average error for a network is {error:.0%}"
    yield "whole networks", f"{slope:.3g} times the sum of their operations and {offset * 1e3:+.3g} ms{missed}"
    measured = sorted(found.known.values())
    yield "measured", f"{measured[0] * 1e3:.3g} to {measured[-1] * 1e3:.3g} ms, {len(measured)} random networks"
