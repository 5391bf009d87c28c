"""The cost of a search before it starts: operations, multiply-adds, memory and time.

Two steps with a handful of pictures are watched, and the memory at each moment is extrapolated to the wanted batch.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from diffnas.backends.choose import choose, describe
from diffnas.components.stages import epochs_of
from diffnas.data import DataSet, stand_in
from diffnas.engine import contract, memory
from diffnas.engine.checks import check, check_data, with_cells_per_place
from diffnas.engine.devices import computing_on, make_fabric, picture_on
from diffnas.engine.memory import Footprint, Watch, in_gigabytes, refuse_hopeless
from diffnas.engine.optimizers import parameter_count
from diffnas.engine.passes import as_read, epoch_batches, inputs_of
from diffnas.engine.ranks import ALONE
from diffnas.engine.search_state import parts, staged
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import SearchSettings
from diffnas.engine.trial import Trial, trial
from diffnas.method import Method
from diffnas.nets.costs import BYTES, around
from diffnas.nets.least import least
from diffnas.nets.ops import OPS
from diffnas.nets.sites import offered
from diffnas.nets.sizes import sizes_of_space
from diffnas.skeleton import skeleton_of
from diffnas.sources import units
from diffnas.space import SearchSpace

# The numbers of pictures in the two watched steps.
SMALL = (2, 4)

# The memory of a process, divided by the bytes of its tensors. On Linux with freed memory kept, it was 1.06 to 1.21 for
# whole supernets of three spaces, and 1.3 to 2.0 with recomputation, because freed blocks leave holes. For pruned ones
# it was 1.1 to 1.5, and 1.3 to 3.0. Too much is told rather than too little. The numbers for a GPU are not measured.
OVERHEAD = {("cpu", False): 1.25, ("cpu", True): 1.9, ("cuda", False): 1.1, ("cuda", True): 1.2}

# The cells of the shallow supernets that are watched in place of one with six cells more, as a cell takes 0.1 s.
SHALLOW = 6

# The most seconds that the timed step may take.
PATIENCE = 20.0

# Bytes that are too few to be worth the seconds in which a step is watched.
UNWATCHED = 512 << 20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The estimated cost of a search.

    Attributes:
        edges: edges of all kinds of cells.
        operations: operations in play, on all edges.
        offered: operations that the space offers, on all edges.
        parameters: weights of the supernet.
        macs: multiply-adds of a forward pass for one ``unit``.
        unit: the unit of data to which they belong, such as "picture".
        batch, steps, epochs: pictures in a step, steps in an epoch, epochs, those of a pretext among them.
        pretext_epochs: epochs of a pretext, which are taken to cost as much as those of the search.
        memory: estimate of the most bytes that a step holds at once.
        available: bytes that the process can have; None where the system does not say.
        largest_batch: the largest batch that fits; None if it is not known.
        step_seconds: seconds for each step.
        timed_on: pictures in the step that was timed. Its seconds were scaled if this is not ``batch``.
        advice: options with which the search would fit; empty if it fits.
        computed: sentences on how the supernet is computed, and why not faster.
        reachable: a sentence on the possible values of each cost that has a target.
    """

    edges: int
    operations: int
    offered: int
    parameters: int
    macs: int
    batch: int
    steps: int
    epochs: int
    memory: int
    available: int | None
    largest_batch: int | None
    step_seconds: float
    timed_on: int
    advice: tuple[str, ...]
    computed: tuple[str, ...]
    reachable: tuple[str, ...] = ()
    pretext_epochs: int = 0
    unit: str = "picture"

    @property
    def fits(self) -> bool:
        """Whether the memory suffices, or is not known."""
        return self.available is None or self.memory <= self.available

    @property
    def epoch_seconds(self) -> float:
        """Seconds for the steps of an epoch before anything is pruned."""
        return self.steps * self.step_seconds


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """A search whose cost is asked.

    Attributes:
        data, space, method, settings, device, precision, threads: the arguments of the search.
        keep: operations in play, ``(edges, ops)``, bool; all if None.
    """

    data: DataSet
    space: SearchSpace
    method: Method
    settings: SearchSettings
    device: str = "auto"
    precision: str = "32-true"
    threads: int | None = None
    keep: Tensor | None = None

    def __post_init__(self) -> None:
        read = as_read(self.data, skeleton_of(self.space.skeleton), self.settings.window)
        object.__setattr__(self, "data", read)

    @property
    def place(self) -> torch.device:
        """The device of the search."""
        return make_fabric(self.device, self.precision).device

    @property
    def picture(self) -> tuple[int, ...]:
        """Channels, height and width of a picture; or the steps of a sequence that are read at once."""
        return self.data.shape

    def checked(self) -> Prospect:
        """The same search, checked, with its real space, and with a batch of at most all training pictures.

        Raises:
            ValueError: if the search cannot work, or if its supernet cannot fit with a handful of pictures.
        """
        settings = replace(self.settings, batch=min(self.settings.batch, len(self.data.train)))
        space = with_cells_per_place(self.space, settings)
        check(space, self.method, settings, self.data)
        checked = replace(self, space=space, settings=settings)
        checked._refuse_hopeless()
        return checked

    def _refuse_hopeless(self) -> None:
        """Refuse a supernet that cannot fit even with the few pictures of a watched step."""
        begun, options = self.method.stages(self.space, self.settings.epochs)[0], self.method.supernet
        own = staged(self.settings, begun, self.space)
        ops = OPS.keys() & set(begun.ops or self.space.ops)
        data, inputs = self.data, inputs_of(self.data, own)
        sizes = sizes_of_space(self.space, len(data.classes), data.channels, **own.sizes, **inputs)
        net = least(sizes, offered(self.space), self.picture, ops=ops, one_in=options.one_in)
        inside = not (self.settings.recompute or options.drawn)
        kept = {"remembered": self.settings.remembered, "inside": inside, "half": self.precision == "bf16-mixed"}
        refuse_hopeless("search", net, SMALL[-1], self.place, **kept)

    def trial(self, batch: int) -> Trial:
        """The beginning of the search with ``batch`` pictures in a step, where alpha moves and nothing is pruned."""
        settings = replace(self.settings, batch=batch, alpha_warmup=0, prune_warmup=self.settings.epochs)
        return trial(
            stand_in(self.data, 2 * batch),
            space=self.space,
            method=self.method,
            settings=settings,
            device=self.device,
            precision=self.precision,
            keep=self.keep,
        )

    def footprint(self, *, recompute: bool | None = None) -> Footprint:
        """The memory of a step, as a function of its batch."""
        recompute = self.settings.recompute if recompute is None else recompute
        asked = replace(self, settings=replace(self.settings, recompute=recompute))
        fewer, more = (asked._curve(batch) for batch in SMALL)
        return Footprint.between(fewer, more, SMALL, OVERHEAD[self.place.type, recompute])

    def _curve(self, batch: int) -> Sequence[int]:
        """The bytes at each moment of a step; for a deep supernet only the peak, extrapolated from two shallow ones."""
        depth = self.space.depth if self.settings.depth is None else self.settings.depth
        more = (depth - SHALLOW) // 3
        if more < 2 or self.space.own_depth is not None or self.space.frame is not None:
            return self._watched(batch)
        # Three more cells are one more before, one between and one after the reductions, so each three cost the same.
        first, second = (
            max(replace(self, settings=replace(self.settings, depth=depth - 3 * (more - k)))._watched(batch))
            for k in (0, 1)
        )
        return [first + more * (second - first)]

    def _watched(self, batch: int) -> Sequence[int]:
        """The bytes at each moment of the second step. The first step makes the states of the optimizers."""
        tried = self.trial(batch)
        tried.step()
        gc.collect()
        watch = Watch(memory.tensors(tried.state.state_dict()))
        with watch:
            tried.step()
        return watch.curve

    def seconds(self, most: int) -> tuple[float, int]:
        """Seconds for a step, and the number of pictures in the timed step.

        That number is at most ``most``, and such that the step takes at most ``PATIENCE``.
        """
        wanted = self.settings.batch
        batch = min(SMALL[-1], wanted)
        took = _time(self.trial(batch))
        larger = min(wanted, most, int(batch * PATIENCE / took))
        if larger > batch:
            batch, took = larger, _time(self.trial(larger))
        return took * wanted / batch, batch


def estimate(wanted: Prospect) -> Cost:
    """The estimated cost of a search. Nothing is trained or written.

    Raises:
        ValueError: for settings that cannot work, or a supernet that cannot fit with a handful of pictures.
    """
    wanted = wanted.checked()
    space, settings = wanted.space, wanted.settings
    choice = choose(settings.backend, wanted.place, wanted.precision)
    with computing_on(wanted.threads, choice.backend), fixed_random(settings.seed):
        free = memory.available(wanted.place)
        needed = wanted.footprint()
        largest = None if free is None else needed.largest(free)
        seconds, timed_on = wanted.seconds(settings.batch if largest is None else largest)
        advice = _advice(wanted, needed, free)
        smallest = wanted.trial(SMALL[0])
    return Cost(
        edges=len(space.edges),
        operations=int(smallest.state.keep.sum()),
        offered=sum(map(sum, space.offered)),
        parameters=parameter_count(smallest.state.supernet),
        macs=smallest.macs,
        unit=units(wanted.data.kind, wanted.data.size)[0],
        batch=settings.batch,
        steps=_steps(wanted),
        epochs=epochs_of(contract.stages_of(wanted.method, space, settings)),
        pretext_epochs=settings.pretext_epochs if wanted.method.pretext else 0,
        memory=needed.at(settings.batch),
        available=free,
        largest_batch=largest,
        step_seconds=seconds,
        timed_on=timed_on,
        advice=advice,
        computed=describe(smallest.state.supernet, choice, picture_on(wanted.place, wanted.precision, wanted.data)),
    )


def footprint(wanted: Prospect) -> Footprint:
    """The memory of a search's step, as a function of its batch."""
    with computing_on(wanted.threads), fixed_random(wanted.settings.seed):
        return wanted.footprint()


def memory_of(wanted: Prospect) -> int:
    """The most bytes that a step of a search holds: an estimate, or for a small search a bound from its sizes.

    Raises:
        ValueError: for settings that cannot work, or a supernet that could not fit with a handful of pictures.
    """
    wanted = wanted.checked()
    bound = _bound(wanted)
    return bound if bound < UNWATCHED else footprint(wanted).at(wanted.settings.batch)


def require_memory(wanted: Prospect) -> None:
    """Refuse a search that has too little memory, before it starts.

    Raises:
        ValueError: with the estimate, the available memory, and options with which the search would fit.
    """
    check_data(wanted.space, wanted.data)
    free = memory.available(wanted.place)
    # Watching steps takes seconds, and most searches are so small that it is not needed.
    if free is None or 4 * _bound(wanted) < free:
        return
    wanted = wanted.checked()
    needed = footprint(wanted)
    advice = _advice(wanted, needed, free)
    if advice:
        batch = wanted.settings.batch
        raise ValueError(
            f"this search would need about {in_gigabytes(needed.at(batch))} of memory with batch {batch}, and "
            f"{in_gigabytes(free)} can be had on {wanted.place}. What would fit: {', or '.join(advice)}. "
            "To start all the same: --no-check-memory, check_memory=False in Python."
        )


def what_fits(wanted: Prospect) -> tuple[str, ...]:
    """Options with which a search that ran out of memory would fit; empty if the estimate runs out of memory too."""
    try:
        return _advice(wanted, footprint(wanted), memory.available(wanted.place))
    except Exception as error:
        if not memory.ran_out(error):
            raise
        return ()


def _steps(wanted: Prospect) -> int:
    """Steps in an epoch, whose pictures are those that move the weights."""
    moving, _ = parts(wanted.data, wanted.method, wanted.settings)
    return len(epoch_batches(wanted.data.train, moving, wanted.settings, 0, ALONE))


def _advice(wanted: Prospect, usual: Footprint, free: int | None) -> tuple[str, ...]:
    """Options with which the search would fit; empty if it fits."""
    settings = wanted.settings
    needed = usual.at(settings.batch)
    if free is None or needed <= free:
        return ()
    advice = []
    batch = usual.largest(free)
    if batch >= 2:
        advice.append(f"--batch {batch}")
    if not settings.recompute:
        with computing_on(wanted.threads), fixed_random(settings.seed):
            leaner = wanted.footprint(recompute=True)
        if leaner.at(settings.batch) <= free:
            advice.append(f"--recompute (about {in_gigabytes(leaner.at(settings.batch))})")
        elif leaner.largest(free) > max(batch, 1):
            advice.append(f"--recompute with --batch {leaner.largest(free)}")
    # Nearly all memory is activations, whose size is proportional to the channels.
    channels = int((settings.channels or wanted.space.channels) * free / needed * 0.95)
    if channels >= 2:
        advice.append(f"--channels {channels}")
    return tuple(advice) or ("a smaller --channels, --depth or --size",)


def _bound(wanted: Prospect) -> int:
    """An upper bound of the bytes of a step, from sizes alone: a dozen maps for each operation and around the cells."""
    space, settings = with_cells_per_place(wanted.space, wanted.settings), wanted.settings
    data, inputs = wanted.data, inputs_of(wanted.data, settings)
    rest, cells = around(sizes_of_space(space, 1, data.channels, **settings.sizes, **inputs), wanted.picture)
    ops = {kind: sum(map(len, graph.ops)) for kind, graph in space.cells.items()}
    maps = sum((ops[cell.place.kind] + 4) * cell.place.out * prod(cell.size) for cell in cells)
    steps = settings.window if data.in_order and data.window == 1 else 1
    return 12 * (BYTES * maps + rest.written) * min(settings.batch, len(data.train)) * steps


def _time(tried: Trial) -> float:
    """Seconds for a step, after the warm-up steps."""
    took = 0.0
    for _ in range(tried.warmup_steps + 1):
        begun = time.perf_counter()
        tried.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took = time.perf_counter() - begun
    return took
