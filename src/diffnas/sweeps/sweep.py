"""A sweep: every cell of a grid is a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from diffnas.api.vote import Vote, votes
from diffnas.engine.lock import owning
from diffnas.report.sweep.record import SweepRecord, is_sweep, read_sweep, write_sweep
from diffnas.report.sweep.status import Status, SweepView
from diffnas.sweeps import grid
from diffnas.sweeps.cluster import LOCAL, Cluster
from diffnas.sweeps.copies import Copies, copied
from diffnas.sweeps.drive import Show, drive
from diffnas.sweeps.planning import Cell, planned
from diffnas.sweeps.workers import Processes, Workers
from diffnas.values import check_fields, real, whole


@dataclass(frozen=True, kw_only=True)
class Means:
    """How the runs of a sweep are computed. None of it changes a result.

    Attributes:
        at_once: the most runs at once on this machine; None for as many as its cores and memory hold.
        retries: how often a run that was lost is tried again. It goes on from its checkpoint.
        address: the address of a Ray cluster, or ``local`` to start Ray here; None for processes on this machine.
        cpus_per_run: the CPUs that Ray sets aside for a run; None for its number of threads.
        gpus_per_run: the GPUs that Ray sets aside for a run; a fraction shares a GPU.
        copy_to: a URL that fsspec knows, such as ``s3://BUCKET/PLACE``, to which each run is copied once it has ended.
            A sweep whose folder is lost goes on from there.
    """

    at_once: Annotated[int, whole(1, 1024)] | None = None
    retries: Annotated[int, whole(0, 100)] = 2
    address: str | None = None
    cpus_per_run: Annotated[float, real(0, 1024, above=True)] | None = None
    gpus_per_run: Annotated[float, real(0, 1024)] | None = None
    copy_to: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.address is None and (self.cpus_per_run, self.gpus_per_run) != (None, None):
            raise ValueError(
                "cpus_per_run and gpus_per_run are for a cluster; name its address too, such as "
                f"--address auto, or --address {LOCAL} to start Ray on this machine."
            )
        if self.address is not None and self.at_once is not None:
            raise ValueError("at_once is for this machine alone; on a cluster, cpus_per_run says how many runs fit.")

    @classmethod
    def taken(cls, options: Mapping[str, Any]) -> tuple[Means, dict[str, Any]]:
        """The means that options name, and all other options."""
        names = [each.name for each in fields(cls)]
        own = {name: options[name] for name in names if name in options}
        return cls(**own), {name: value for name, value in options.items() if name not in names}

    def workers(self, folder: Path) -> Workers:
        """Who computes the runs of the sweep in ``folder``."""
        if self.address is None:
            return Processes(folder, self.at_once)
        return Cluster(folder, self.address, self.cpus_per_run, self.gpus_per_run)


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        folder: its folder.
        runs: how each run ended, in the order of the grid.
        votes: the votes of runs that differ only in their seeds, if the user wants them.
        unvoted: which groups of runs cannot vote, and why, a sentence each.
    """

    folder: Path
    runs: tuple[Status, ...]
    votes: tuple[Vote, ...] = ()
    unvoted: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Status, ...]:
        """The runs that failed, with their reasons."""
        return tuple(each for each in self.runs if each.state == "failed")


def plan(cells: Mapping[str, Cell], out: Path, means: Means, *, vote: bool = False) -> None:
    """Write the folder of a sweep, in which no run has begun.

    Raises:
        ValueError: if a run could not work, or ``out`` holds something already; nothing is written.
    """
    if is_sweep(out):
        raise ValueError(f"{out} already holds a sweep. Go on with it: --resume {out}, or choose another --out.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not an empty folder, which a sweep needs. Choose another --out.")
    cpus = None if means.address is None else max(1, int(means.cpus_per_run or 1))
    record = SweepRecord(cells=planned(cells, means.at_once, cpus), vote=vote)
    write_sweep(out, record)


def go_on(folder: Path, means: Means, show: Show = lambda statuses: None) -> SweepResult:
    """The result of the sweep in a folder, whose runs begin or go on. Those that are done stay as they are.

    Raises:
        ValueError: if there is no sweep, another driver works on it, or it cannot be copied.
        Interrupted: if a signal asked the sweep to end. All runs have then saved checkpoints.
    """
    copies = None if means.copy_to is None else Copies(means.copy_to)
    if copies is not None and not is_sweep(folder):
        copies.fetch(folder)
    record, folder = read_sweep(folder), folder.resolve()
    with owning(folder, lambda message: None), copied(copies, folder, show) as shown:
        runs = drive(folder, means.workers(folder), retries=means.retries, show=shown)
        done = [folder / each.name for each in runs if each.state == "done"]
        found, refused = votes(done, folder) if record.vote else ([], [])
        return SweepResult(folder=folder, runs=tuple(runs), votes=tuple(found), unvoted=tuple(refused))


def sweep(
    data: Any = "digits",
    *,
    out: str | Path,
    methods: str | Sequence[str] | None = None,
    seeds: int | Iterable[int] | None = None,
    spaces: str | Sequence[str] | None = None,
    search_settings: Mapping[str, Any] | None = None,
    evaluate_settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    vote: bool = False,
    at_once: int | None = None,
    retries: int = 2,
    address: str | None = None,
    cpus_per_run: float | None = None,
    gpus_per_run: float | None = None,
    copy_to: str | None = None,
    show: Show | None = None,
    **options: Any,
) -> SweepResult:
    """Search and evaluate in every cell of a grid, each in a process of its own. A failed run does not stop the others.

    Args:
        data: the name or folder of the data, or a list of such.
        out: the folder of the sweep, which holds the run folders.
        methods, seeds, spaces: the names of methods, the seeds, the names of spaces: one or a list.
        search_settings, evaluate_settings: settings of one phase, as in ``run``; each value may be a list.
        resume: whether to go on with the sweep in ``out``. The grid is then not given again.
        vote: whether to vote at the end on each group of runs that differ only in their seeds.
        at_once, retries, address, cpus_per_run, gpus_per_run, copy_to: as in :class:`Means`.
        show: is called with the states of the runs while the sweep goes on.
        options: any other option of ``run``; each may be a list.

    Raises:
        ValueError: if an argument cannot work; nothing is written.
        Interrupted: if a signal asked the sweep to end. All runs have then saved checkpoints.

    >>> import tempfile
    >>> small = {"channels": 4, "depth": 3, "epochs": 1}
    >>> with tempfile.TemporaryDirectory() as place:  # doctest: +SKIP
    ...     done = sweep(
    ...         out=f"{place}/s", methods="sparse", seeds=range(1), spaces="nas-bench-201", train=60,
    ...         search_settings=small, evaluate_settings=small,
    ...     )
    >>> [(run.name, run.state) for run in done.runs]  # doctest: +SKIP
    [('sparse-seed0', 'done')]
    """
    means = Means(
        at_once=at_once,
        retries=retries,
        address=address,
        cpus_per_run=cpus_per_run,
        gpus_per_run=gpus_per_run,
        copy_to=copy_to,
    )
    folder, axes = Path(out), {"data": data, "method": methods, "space": spaces, **options, "seed": seeds}
    for phase, settings in (("search", search_settings), ("evaluate", evaluate_settings)):
        axes |= {f"{phase}.{name}": value for name, value in (settings or {}).items()}
    lists = {name: _listed(value) for name, value in axes.items() if value is not None}
    if not resume:
        cells = {name: Cell(values=cell, options=_options(cell)) for name, cell in grid.cells(lists).items()}
        plan(cells, folder, means, vote=vote)
    elif lists != {"data": ["digits"]}:
        raise ValueError(f"the sweep in {folder} goes on with its own grid: give no option of its runs.")
    return go_on(folder, means, show or (lambda statuses: None))


def states(folder: str | Path) -> list[Status]:
    """How far each run of the sweep in a folder has come."""
    return SweepView(Path(folder)).statuses()


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | range) else [value]


def _options(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``run`` from a cell, in which the settings of a phase are called ``search.NAME``."""
    options = {name: value for name, value in cell.items() if "." not in name}
    for phase in ("search", "evaluate"):
        settings = {name.partition(".")[2]: value for name, value in cell.items() if name.startswith(f"{phase}.")}
        options |= {f"{phase}_settings": settings} if settings else {}
    return options
