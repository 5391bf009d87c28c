"""What a search will cost, told before it starts: operations, multiply-adds, memory and time.

Memory is counted, not guessed: two steps with a handful of pictures are watched, and what each moment of them holds is
carried on to the batch that was asked for.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffnas.backends.choose import choose, describe
from diffnas.components.stages import epochs_of
from diffnas.data import DataSet, Pictures
from diffnas.engine import contract, memory
from diffnas.engine.checks import check, with_cells_per_place
from diffnas.engine.devices import computing_on, make_fabric
from diffnas.engine.memory import Footprint, Watch, in_gigabytes, refuse_hopeless
from diffnas.engine.optimizers import parameter_count
from diffnas.engine.ranks import ALONE
from diffnas.engine.search import Trial, trial
from diffnas.engine.search_state import halves, staged
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import SearchSettings
from diffnas.method import Method
from diffnas.nets.frames.plan import plan
from diffnas.nets.least import of_space
from diffnas.skeleton import skeleton_of
from diffnas.space import SearchSpace

# The pictures in the two steps that are watched.
SMALL = (2, 4)

# How many times the bytes of its tensors a process takes: measured on Linux with freed memory kept, both spaces, whole
# and pruned, 1.1 to 1.5 times without recomputation and 2.2 to 3.8 times with it (freed blocks of many sizes leave
# holes). On a GPU nobody has measured it yet.
OVERHEAD = {("cpu", False): 1.3, ("cpu", True): 2.8, ("cuda", False): 1.1, ("cuda", True): 1.2}

# Supernets with half a dozen cells more than this are not built to be watched: a cell takes a tenth of a second.
SHALLOW = 6

# Seconds that the step which is timed may take.
PATIENCE = 20.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a search will cost.

    Attributes:
        edges: edges of all kinds of cells.
        operations, offered: operations on them that are in play, and that the space offers.
        parameters: weights of the supernet.
        macs: multiply-adds for one picture, forward.
        batch, steps, epochs: pictures a step, steps an epoch, epochs.
        memory: the most bytes that a step will hold at once, an estimate.
        available: the bytes that could be had; None where the system does not say.
        largest_batch: the largest batch that would fit; None if that is not known.
        step_seconds: seconds a step.
        timed_on: the pictures in the step that was timed; its seconds were scaled to ``batch`` if they differ.
        advice: what would fit; empty if the search does.
        computed: how the supernet is computed and why not faster, a sentence each.
        reachable: what can be reached of each target, a sentence each.
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

    @property
    def fits(self) -> bool:
        """Whether there is memory for it, as far as is known."""
        return self.available is None or self.memory <= self.available

    @property
    def epoch_seconds(self) -> float:
        """Seconds of the training steps of an epoch, while nothing is pruned."""
        return self.steps * self.step_seconds


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """A search that somebody would like to have.

    Attributes:
        data, space, method, settings, device, precision, threads: as for a search.
        keep: which operations are left, ``(edges, ops)``; all if None.
    """

    data: DataSet
    space: SearchSpace
    method: Method
    settings: SearchSettings
    device: str = "auto"
    precision: str = "32-true"
    threads: int | None = None
    keep: Tensor | None = None

    @property
    def place(self) -> torch.device:
        """The device that would compute it."""
        return make_fabric(self.device, self.precision).device

    def checked(self) -> Prospect:
        """The same with the space as it will be laid out, and the batch that a step really has: all pictures at most.

        Raises:
            ValueError: if it cannot work, or its supernet could not fit with a handful of pictures.
        """
        settings = replace(self.settings, batch=min(self.settings.batch, len(self.data.train)))
        space = with_cells_per_place(self.space, settings)
        check(space, self.method, settings, self.data)
        checked = replace(self, space=space, settings=settings)
        checked._refuse_hopeless()
        return checked

    def _refuse_hopeless(self) -> None:
        """Refuse a supernet that does not even fit with the pictures that are watched."""
        begun, options = self.method.stages(self.space, self.settings.epochs)[0], self.method.supernet
        own = staged(self.settings, begun, self.space)
        outline = of_space(self.space, **own.sizes, one_in=options.one_in, among=begun.ops)
        inside = not (self.settings.recompute or options.drawn)
        kept = {"momentum": self.settings.momentum > 0, "inside": inside, "half": self.precision == "bf16-mixed"}
        refuse_hopeless("search", outline, self.data, SMALL[-1], self.place, **kept)

    def trial(self, batch: int) -> Trial:
        """Its beginning with so many pictures a step, nothing frozen and nothing pruned."""
        settings = replace(self.settings, batch=batch, alpha_warmup=0, prune_warmup=self.settings.epochs)
        return trial(
            _stand_in(self.data, 2 * batch),
            space=self.space,
            method=self.method,
            settings=settings,
            device=self.device,
            precision=self.precision,
            keep=self.keep,
        )

    def footprint(self, *, recompute: bool | None = None) -> Footprint:
        """How its memory grows with the batch."""
        recompute = self.settings.recompute if recompute is None else recompute
        asked = replace(self, settings=replace(self.settings, recompute=recompute))
        fewer, more = (asked._curve(batch) for batch in SMALL)
        return Footprint.between(fewer, more, SMALL, OVERHEAD[self.place.type, recompute])

    def _curve(self, batch: int) -> Sequence[int]:
        """The bytes of a step; of a deep supernet their peak alone, carried on from two shallow ones."""
        depth = self.space.depth if self.settings.depth is None else self.settings.depth
        more = (depth - SHALLOW) // 3
        if more < 2 or self.space.own_depth is not None:
            return self._watched(batch)
        # Three more cells are one more before, between and after the reductions: always the same ones.
        first, second = (
            max(replace(self, settings=replace(self.settings, depth=depth - 3 * (more - k)))._watched(batch))
            for k in (0, 1)
        )
        return [first + more * (second - first)]

    def _watched(self, batch: int) -> Sequence[int]:
        """The bytes of a step, the second: the first one makes what optimizers remember."""
        tried = self.trial(batch)
        tried.step()
        gc.collect()
        watch = Watch(memory.tensors(tried.state.state_dict()))
        with watch:
            tried.step()
        return watch.curve

    def seconds(self, most: int) -> tuple[float, int]:
        """Seconds a step, and on how many pictures they were measured: at most ``most``, and as patience allows."""
        wanted = self.settings.batch
        batch = min(SMALL[-1], wanted)
        took = _time(self.trial(batch))
        larger = min(wanted, most, int(batch * PATIENCE / took))
        if larger > batch:
            batch, took = larger, _time(self.trial(larger))
        return took * wanted / batch, batch


def estimate(wanted: Prospect) -> Cost:
    """What a search will cost. Nothing is trained or written.

    Raises:
        ValueError: for settings that cannot work, or a supernet that could not fit with a handful of pictures.
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
        batch=settings.batch,
        steps=_steps(wanted),
        epochs=epochs_of(contract.stages(wanted.method.stages, space, settings.epochs)),
        memory=needed.at(settings.batch),
        available=free,
        largest_batch=largest,
        step_seconds=seconds,
        timed_on=timed_on,
        advice=advice,
        computed=describe(smallest.state.supernet, choice),
    )


def footprint(wanted: Prospect) -> Footprint:
    """How the memory of a search's step grows with its batch."""
    with computing_on(wanted.threads), fixed_random(wanted.settings.seed):
        return wanted.footprint()


def require_memory(wanted: Prospect) -> None:
    """Refuse a search that there is no memory for, before it starts.

    Raises:
        ValueError: with the estimate, what is available, and what would fit.
    """
    free = memory.available(wanted.place)
    # Watching a step takes seconds; most searches are so small that none are needed.
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
    """Options with which a search that ran out of memory would fit; empty if measuring does not tell."""
    try:
        return _advice(wanted, footprint(wanted), memory.available(wanted.place))
    except Exception as error:
        if not memory.ran_out(error):
            raise
        return ()


def _steps(wanted: Prospect) -> int:
    """Steps an epoch: of the pictures that move the weights, half of them where the level wants halves."""
    count, settings = len(wanted.data.train), wanted.settings
    if wanted.method.level.data == "halves":
        count = len(halves(count, settings)[0])
    return len(ALONE.batches(torch.arange(count), settings.batch))


def _advice(wanted: Prospect, usual: Footprint, free: int | None) -> tuple[str, ...]:
    """What would fit if this search does not."""
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
    # Nearly all memory is activations, whose size goes with the channels.
    channels = int((settings.channels or wanted.space.channels) * free / needed * 0.95)
    if channels >= 2:
        advice.append(f"--channels {channels}")
    return tuple(advice) or ("a smaller --channels, --depth or --size",)


def _bound(wanted: Prospect) -> int:
    """More bytes than a step holds, from sizes alone: a dozen maps for every operation."""
    data, space, settings = wanted.data, wanted.space, wanted.settings
    widths = {kind: len(graph.output) for kind, graph in space.cells.items()}
    cells = plan(
        skeleton_of(space.skeleton),
        widths,
        space.channels if settings.channels is None else settings.channels,
        space.depth if settings.depth is None else settings.depth,
        settings.stem,
    )
    pixels, total = data.size[0] * data.size[1], 0
    for cell in cells:
        ops = 1 if cell.kind is None else sum(len(names) for names in space.cells[cell.kind].ops)
        total += 12 * (ops + 4) * cell.channels * pixels
        pixels = -(-pixels // 4) if cell.reduces else pixels
    return 4 * total * min(settings.batch, len(data.train))


def _stand_in(data: DataSet, count: int) -> DataSet:
    """Black pictures in place of the real ones: at least ``count``, and one of each class."""
    count = max(count, len(data.classes))
    black = Pictures(
        images=torch.zeros(count, data.channels, *data.size, dtype=torch.uint8),
        labels=torch.arange(count) % len(data.classes),
    )
    return replace(data, train=black, test=black)


def _time(tried: Trial) -> float:
    """Seconds of a step, after those that find kernels and memory."""
    took = 0.0
    for _ in range(tried.warmup_steps + 1):
        begun = time.perf_counter()
        tried.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took = time.perf_counter() - begun
    return took
