"""What a search will cost, told before it starts: operations, multiply-adds, memory and time.

Memory is counted, not guessed: two steps with a handful of pictures are watched, and what each moment of them holds is
carried on to the batch that was asked for.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffnas.components.stages import epochs_of
from diffnas.data import DataSet, Pictures
from diffnas.engine import contract, memory
from diffnas.engine.common import by_kernels, computing_on, fixed_random, make_fabric, parameter_count
from diffnas.engine.memory import Footprint, Watch
from diffnas.engine.request import check, laid_out
from diffnas.engine.search import Trial, trial
from diffnas.engine.search_state import halves
from diffnas.engine.seeds import epoch_order
from diffnas.engine.settings import SearchSettings
from diffnas.method import Method
from diffnas.nets.skeleton import plan
from diffnas.space import SearchSpace

# The pictures in the two steps that are watched.
SMALL = (2, 4)

# How many times the bytes of its tensors a process takes: measured on Linux with freed memory kept, both spaces, whole
# and pruned, 1.1 to 1.5 times without recomputation and 2.2 to 3.8 times with it (freed blocks of many sizes leave
# holes). On a GPU nobody has measured it yet.
OVERHEAD = {("cpu", False): 1.3, ("cpu", True): 2.8, ("cuda", False): 1.1, ("cuda", True): 1.2}

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

    @property
    def fits(self) -> bool:
        """Whether there is memory for it, as far as is known."""
        return self.available is None or self.memory <= self.available

    @property
    def epoch_seconds(self) -> float:
        """Seconds of the training steps of an epoch, while nothing is pruned."""
        return self.steps * self.step_seconds


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A search that somebody would like to have."""

    data: DataSet
    space: SearchSpace
    method: Method
    settings: SearchSettings
    device: str
    precision: str
    keep: Tensor | None

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
        kind = make_fabric(self.device, self.precision).device.type
        fewer, more = (asked._curve(batch) for batch in SMALL)
        return Footprint.between(fewer, more, SMALL, OVERHEAD[kind, recompute])

    def _curve(self, batch: int) -> list[int]:
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


def estimate(
    data: DataSet,
    *,
    space: SearchSpace,
    method: Method,
    settings: SearchSettings,
    device: str = "auto",
    precision: str = "32-true",
    threads: int | None = None,
    keep: Tensor | None = None,
) -> Cost:
    """What a search will cost; the arguments are those of ``search``. Nothing is trained or written.

    Args:
        data, space, method, settings, device, precision, threads: as for a search.
        keep: which operations are left, ``(edges, ops)``; all if None.

    Raises:
        ValueError: for settings that cannot work.
    """
    space = laid_out(space, settings)
    check(space, method, settings, data)
    request = _Request(
        data=data, space=space, method=method, settings=settings, device=device, precision=precision, keep=keep
    )
    place = make_fabric(device, precision).device
    kernels = by_kernels(settings.forward_by, place, precision)
    with computing_on(threads, kernels=kernels), fixed_random(settings.seed):
        free = memory.available(place)
        needed = request.footprint()
        largest = None if free is None else needed.largest(free)
        seconds, timed_on = request.seconds(settings.batch if largest is None else largest)
        advice = _advice(request, needed, free)
        smallest = request.trial(SMALL[0])
    # The pictures that move the weights: half of them where the level wants halves.
    count = len(halves(len(data.train), settings)[0]) if method.level.data == "halves" else len(data.train)
    return Cost(
        edges=len(space.edges),
        operations=int(smallest.state.keep.sum()),
        offered=sum(map(sum, space.offered)),
        parameters=parameter_count(smallest.state.supernet),
        macs=smallest.macs,
        batch=settings.batch,
        steps=-(-len(epoch_order(count, settings.batch, settings.seed, 0)) // settings.batch),
        epochs=epochs_of(contract.stages(method.stages, space, settings.epochs)),
        memory=needed.at(settings.batch),
        available=free,
        largest_batch=largest,
        step_seconds=seconds,
        timed_on=timed_on,
        advice=advice,
    )


def footprint(
    data: DataSet,
    *,
    space: SearchSpace,
    method: Method,
    settings: SearchSettings,
    device: str = "auto",
    precision: str = "32-true",
    keep: Tensor | None = None,
) -> Footprint:
    """How the memory of a search's step grows with its batch; the arguments are those of ``estimate``."""
    request = _Request(
        data=data, space=space, method=method, settings=settings, device=device, precision=precision, keep=keep
    )
    with fixed_random(settings.seed):
        return request.footprint()


def require_memory(
    data: DataSet,
    *,
    space: SearchSpace,
    method: Method,
    settings: SearchSettings,
    device: str = "auto",
    precision: str = "32-true",
    threads: int | None = None,
) -> None:
    """Refuse a search that there is no memory for, before it starts.

    Raises:
        ValueError: with the estimate, what is available, and what would fit.
    """
    place = make_fabric(device, precision).device
    free = memory.available(place)
    # Watching a step takes seconds; most searches are so small that none are needed.
    if free is None or 4 * _bound(data, space, settings) < free:
        return
    check(space, method, settings, data)
    request = _Request(
        data=data, space=space, method=method, settings=settings, device=device, precision=precision, keep=None
    )
    with computing_on(threads), fixed_random(settings.seed):
        needed = request.footprint()
        advice = _advice(request, needed, free)
    if advice:
        batch = settings.batch
        raise ValueError(
            f"this search would need about {in_gigabytes(needed.at(batch))} of memory with batch {batch}, and "
            f"{in_gigabytes(free)} can be had on {place}. What would fit: {', or '.join(advice)}. "
            "To start all the same: --no-check-memory, check_memory=False in Python."
        )


def in_gigabytes(count: float) -> str:
    """Bytes in words.

    >>> in_gigabytes(3 * 2**30), in_gigabytes(5 * 2**20)
    ('3.0 GiB', '5 MiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.0f} MiB"


def _advice(request: _Request, usual: Footprint, free: int | None) -> tuple[str, ...]:
    """What would fit if this search does not."""
    settings = request.settings
    needed = usual.at(settings.batch)
    if free is None or needed <= free:
        return ()
    advice = []
    batch = usual.largest(free)
    if batch >= 2:
        advice.append(f"--batch {batch}")
    if not settings.recompute:
        leaner = request.footprint(recompute=True)
        if leaner.at(settings.batch) <= free:
            advice.append(f"--recompute (about {in_gigabytes(leaner.at(settings.batch))})")
        elif leaner.largest(free) > max(batch, 1):
            advice.append(f"--recompute with --batch {leaner.largest(free)}")
    # Nearly all memory is activations, whose size goes with the channels.
    channels = int((settings.channels or request.space.channels) * free / needed * 0.95)
    if channels >= 2:
        advice.append(f"--channels {channels}")
    return tuple(advice) or ("a smaller --channels, --depth or --size",)


def _bound(data: DataSet, space: SearchSpace, settings: SearchSettings) -> int:
    """More bytes than a step holds, from sizes alone: a dozen maps for every operation."""
    widths = {kind: len(graph.output) for kind, graph in space.cells.items()}
    cells = plan(
        space.skeleton,
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
    return 4 * total * settings.batch


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
    for _ in range(tried.settle + 1):
        begun = time.perf_counter()
        tried.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took = time.perf_counter() - begun
    return took
