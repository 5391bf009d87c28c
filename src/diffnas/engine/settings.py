"""What decides a search or an evaluation, apart from space, method and data; and where the two are computed. No torch.

Every option is declared here once, and from here come the arguments of Python, the options of the command line and the
page of the documentation that lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from diffnas.backends import Asked
from diffnas.skeleton import StemKind
from diffnas.values import SEED, THREADS, Help, check_fields, explained, helps, real, whole

# The headings under which options stand.
DATA, SIZES, WEIGHTS, ALPHA, MACHINE = "Data", "How long, how large", "Weights", "Alpha and pruning", "Machine"

# The bounds are far beyond what anybody uses, and within what every computation below can hold.
Epochs: TypeAlias = Annotated[
    int, whole(1, 1_000_000), Help(text="Passes over the training pictures.", part=SIZES, common=True)
]
Batch: TypeAlias = Annotated[int, whole(1, 1_000_000), Help(text="Pictures a step.", part=SIZES, common=True)]
Count: TypeAlias = Annotated[int, whole(0, 1_000_000)]
Channels: TypeAlias = Annotated[int, whole(1, 10_000)]
Depth: TypeAlias = Annotated[int, whole(1, 200)]
Side: TypeAlias = Annotated[int, whole(0, 10_000)]
Rate: TypeAlias = Annotated[float, real(0, 1e30, above=True)]
Scale: TypeAlias = Annotated[float, real(0, 1e6)]
Below1: TypeAlias = Annotated[float, real(0, 1, below=True)]
LeastRate: TypeAlias = Annotated[Scale, Help(text="Their learning rate in the end.", part=WEIGHTS)]
Auxiliary: TypeAlias = Annotated[
    Scale, Help(text="Weight of the loss of an auxiliary head. 0 for no such head.", part=WEIGHTS)
]
Cutout: TypeAlias = Annotated[
    Side | None,
    Help(
        text="Side of the square blanked in training pictures. At most half the picture; None takes the data set's.",
        part=WEIGHTS,
    ),
]

S = TypeVar("S", bound="SearchSettings | EvaluateSettings")


@explained
@dataclass(frozen=True, kw_only=True)
class Source:
    """What pictures are learned from, beside their name; None is what was not said."""

    data_dir: Annotated[str | Path | None, Help(text="Where the files of CIFAR are.", part=DATA, common=True)] = None
    download: Annotated[bool, Help(text="Fetch CIFAR if it is not there.", part=DATA, common=True)] = False
    size: Annotated[
        int | None, Help(text="Height and width to bring pictures to. For folders and the hub.", part=DATA)
    ] = None
    train: Annotated[
        int | None, Help(text="Training pictures that the search sees. All of them, or the recipe's number.", part=DATA)
    ] = None


@explained
@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run is computed; None is what was not said."""

    device: Annotated[
        str | None,
        Help(text="auto, cpu or cuda. auto is the best of the two that is there.", part=MACHINE, common=True),
    ] = None
    precision: Annotated[
        str | None,
        Help(text="32-true, bf16-mixed or 64-true. Alpha is kept in float32 or, in the last, float64.", part=MACHINE),
    ] = None
    threads: Annotated[
        int | None,
        THREADS,
        Help(
            text=(
                "CPU threads that compute. By default the recipe's number, else torch's; a run that is resumed keeps "
                "its number, because the last digits depend on it."
            ),
            part=MACHINE,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the trainings of a supernet and of a network have in common; the defaults are those of DARTS."""

    epochs: Epochs
    batch: Batch
    channels: Annotated[
        Channels | None,
        Help(
            text=(
                "Channels of the first cells. None takes the space's; in an evaluation the number that published "
                "results stand for: 36 for DARTS on CIFAR, 48 on ImageNet, 16 for NAS-Bench-201."
            ),
            part=SIZES,
            common=True,
        ),
    ] = None
    depth: Annotated[
        Depth | None,
        Help(
            text=(
                "Number of cells. None takes the space's; in an evaluation the number that published results stand "
                "for: 20 for DARTS on CIFAR, 14 on ImageNet, 17 for NAS-Bench-201."
            ),
            part=SIZES,
            common=True,
            aliases=("cells",),
        ),
    ] = None
    stem: Annotated[
        StemKind,
        Help(text="What stands before the first cell. cifar-half has stride 2, for a quarter of the work.", part=SIZES),
    ] = "cifar"
    seed: Annotated[int, SEED, Help(text="Decides every random number.", part=SIZES, common=True)] = 0
    lr: Annotated[Rate, Help(text="Learning rate of the weights.", part=WEIGHTS)] = 0.025
    lr_min: LeastRate
    lr_fall: Annotated[
        Literal["cosine", "line"],
        Help(text="How the learning rate falls. line slows down in the last five epochs.", part=WEIGHTS),
    ] = "cosine"
    momentum: Annotated[Below1, Help(text="Momentum of the weights' SGD.", part=WEIGHTS)] = 0.9
    nesterov: Annotated[bool, Help(text="Nesterov's momentum.", part=WEIGHTS)] = False
    weight_decay: Annotated[Scale, Help(text="Weight decay of the weights' SGD.", part=WEIGHTS)] = 3e-4
    clip: Annotated[
        Scale, Help(text="Largest norm of the weights' gradient, 0 for none. Alpha is clipped apart.", part=WEIGHTS)
    ] = 5.0
    auxiliary: Auxiliary
    cutout: Cutout
    recompute: Annotated[
        bool,
        Help(
            text=(
                "Take less memory and more time, for the same result. The inside of each cell is computed again in the "
                "backward pass instead of being kept."
            ),
            part=MACHINE,
        ),
    ] = False
    tf32: Annotated[
        bool,
        Help(
            text=(
                "Let a GPU round the factors of products to 10 bits. Those in float32, by TF32: several times as fast; "
                "alpha's own arithmetic has no such products."
            ),
            part=MACHINE,
        ),
    ] = True

    def __post_init__(self) -> None:
        check_fields(self)


@explained
@dataclass(frozen=True, kw_only=True)
class SearchSettings(Training):
    """Settings of a search; the defaults are those of DARTS (Liu et al., 2019), appendix A.1.1."""

    epochs: Epochs = 50
    batch: Batch = 64
    lr_min: LeastRate = 0.001
    auxiliary: Auxiliary = 0.0
    cutout: Cutout = None
    alpha_per: Annotated[
        Literal["kind", "cell"],
        Help(text="Which cells share alpha and operations. Those of a kind, or each cell has its own.", part=ALPHA),
    ] = "kind"
    alpha_lr: Annotated[
        Rate | None,
        Help(text="Learning rate of alpha. None takes the method's, times alpha_speed.", part=ALPHA),
    ] = None
    alpha_speed: Annotated[
        Rate,
        Help(
            text=(
                "Factor of alpha's learning rate. It makes up for a short search: what alpha can become is its "
                "learning rate times the steps."
            ),
            part=ALPHA,
        ),
    ] = 1.0
    alpha_init: Annotated[
        Scale, Help(text="Spread of alpha at the start. It is normally distributed around 0.", part=ALPHA)
    ] = 1e-3
    alpha_clip: Annotated[Scale, Help(text="Largest norm of alpha's own gradient, 0 for none.", part=ALPHA)] = 0.0
    alpha_warmup: Annotated[
        Scale,
        Help(
            text=("Epochs in which alpha stands still; below 1, a share. Nothing is removed in them either."),
            part=ALPHA,
        ),
    ] = 0
    prune_warmup: Annotated[Count, Help(text="Epochs in which nothing is removed.", part=ALPHA)] = 0
    prune_every: Annotated[Literal["step", "epoch"], Help(text="When removals are decided.", part=ALPHA)] = "step"
    eigenvalue_every: Annotated[
        Count,
        Help(
            text=(
                "Epochs from one measured eigenvalue to the next. It is the largest of the Hessian for alpha, from the "
                "first epoch on, 0 for never; it takes as long as several dozen steps, and several times the memory "
                "of one."
            ),
            part=ALPHA,
        ),
    ] = 0
    split: Annotated[
        Literal["shuffled", "ordered"],
        Help(
            text=(
                "How pictures are halved for a level that needs it. shuffled is by the seed; ordered is the first and "
                "the second half, as in DARTS' code."
            ),
            part=ALPHA,
        ),
    ] = "shuffled"
    backend: Annotated[
        Asked,
        Help(
            text=(
                "What computes the cells. plain is PyTorch, operation by operation; cpu and gpu are kernels of our "
                "own, in float32, for the same values and gradients up to rounding; auto takes what is fastest where it can."
            ),
            part=MACHINE,
            common=True,
        ),
    ] = "auto"
    cuda_graph: Annotated[
        bool | None,
        Help(
            text=(
                "Replay passes from CUDA graphs. None is where that can be: on a GPU, unless the "
                "supernet draws at random or recomputes. What leaves it is then freed between epochs."
            ),
            part=MACHINE,
        ),
    ] = None
    free: Annotated[
        Literal["auto", "now", "later"],
        Help(
            text=(
                "When removed operations are freed. For now, a GPU has to wait in every step; "
                "later is when word of the decision has arrived by itself, until when they run with a weight of 0, "
                "for the same result up to rounding; auto is later on a GPU."
            ),
            part=MACHINE,
        ),
    ] = "auto"

    def warming_up(self, epoch: int) -> bool:
        """Whether alpha stands still in this epoch, counted from 0.

        >>> [SearchSettings(epochs=4, alpha_warmup=warmup).warming_up(1) for warmup in (1, 2, 0.25, 0.5)]
        [False, True, False, True]
        """
        return epoch < self.alpha_warmup * (1 if self.alpha_warmup >= 1 else self.epochs)


@explained
@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Training):
    """Settings of an evaluation; the defaults are those of DARTS on CIFAR (Liu et al., 2019), appendix A.2.1."""

    epochs: Epochs = 600
    batch: Batch = 96
    lr_min: LeastRate = 0.0
    auxiliary: Auxiliary = 0.4
    cutout: Cutout = 16
    drop_path: Annotated[
        Below1,
        Help(text="Probability of dropping a path in the last epoch. It rises linearly from 0.", part=WEIGHTS),
    ] = 0.2
    label_smoothing: Annotated[
        Below1, Help(text="Share of the target that is spread over all classes.", part=WEIGHTS)
    ] = 0.0


HOW = tuple(name for name, each in helps(SearchSettings).items() if each.part == MACHINE)
"""Settings that say how a run is computed: they move the last digits of a result at most, and do not decide it."""


def settle(kind: type[S], *layers: Mapping[str, Any]) -> S:
    """Settings of ``kind`` from layers of options, the later ones winning.

    Raises:
        ValueError: for an option that ``kind`` does not have, with the nearest one that it has.

    >>> settle(SearchSettings, {"epochs": 200}, {"epochs": 3}).epochs
    3
    """
    known = [field.name for field in fields(kind)]
    merged = {name: option for layer in layers for name, option in layer.items()}
    for name in merged:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown setting {name!r}.{hint} Known: {', '.join(known)}.")
    return kind(**merged)


def as_dict(settings: Training) -> dict[str, Any]:
    """Settings as plain data, for the run folder."""
    return asdict(settings)
