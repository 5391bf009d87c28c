"""What decides a search or an evaluation, apart from space, method and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from diffnas.backends.choose import Asked
from diffnas.nets.frames.plan import StemKind
from diffnas.values import SEED, check_fields, real, whole

# The bounds are far beyond what anybody uses, and within what every computation below can hold.
Epochs: TypeAlias = Annotated[int, whole(1, 1_000_000)]
Count: TypeAlias = Annotated[int, whole(0, 1_000_000)]
Batch: TypeAlias = Annotated[int, whole(1, 1_000_000)]
Channels: TypeAlias = Annotated[int, whole(1, 10_000)]
Depth: TypeAlias = Annotated[int, whole(1, 200)]
Side: TypeAlias = Annotated[int, whole(0, 10_000)]
Seed: TypeAlias = Annotated[int, SEED]
Rate: TypeAlias = Annotated[float, real(0, 1e30, above=True)]
Scale: TypeAlias = Annotated[float, real(0, 1e6)]
Below1: TypeAlias = Annotated[float, real(0, 1, below=True)]

S = TypeVar("S", bound="SearchSettings | EvaluateSettings")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of a search; the defaults are those of DARTS (Liu et al., 2019), appendix A.1.1.

    Attributes:
        epochs, batch: passes over the pictures that move the weights, and pictures a step.
        lr, lr_min: learning rate of the weights, from the first to the second over the epochs.
        lr_fall: how: "cosine", or "line", which slows down in the last five epochs.
        momentum, nesterov, weight_decay: of the weights' SGD.
        clip: largest norm of the weights' gradient; alpha is never clipped with them. 0 for none.
        channels, depth: of the supernet; None takes the space's.
        stem: "cifar", "cifar-half" (stride 2, a quarter of the work) or "imagenet".
        auxiliary: weight of the loss of an auxiliary head in the supernet; 0 for no such head.
        cutout: side of the square blanked in training pictures, half the picture at most; None takes the data set's.
        alpha_per: "kind" if all cells of a kind share operations and alpha, "cell" if each cell has its own.
        alpha_lr: learning rate of alpha; None takes the method's, times ``alpha_speed``.
        alpha_speed: makes up for a short search: what alpha can become is its learning rate times the steps.
        alpha_init: alpha starts normally distributed around 0 with this standard deviation.
        alpha_clip: largest norm of alpha's own gradient; 0 for none.
        alpha_warmup: epochs in which alpha stands still and nothing is removed; below 1, a share of all epochs.
        prune_warmup: epochs in which nothing is removed.
        prune_every: whether removals are decided after every step, or only at the end of an epoch.
        free: when the modules of removed operations are freed: "now", for which a GPU has to wait in every step, or
            "later", when word of the decision has arrived by itself. Until then they run with a weight of 0, for the
            same result up to rounding. "auto" is "later" on a GPU.
        eigenvalue_every: measure the largest eigenvalue of the Hessian for alpha in every so many epochs, from the
            first on; 0 for never. It takes as long as several dozen steps, and several times the memory of one.
        split: how the training pictures are halved for a level that needs it: "shuffled" by the seed, or
            "ordered", the first and the second half as in DARTS' code.
        backend: what computes the supernet's cells: "cpu" and "gpu" are kernels of our own, in float32, "plain" is
            PyTorch, operation by operation, for the same values and gradients up to rounding; "auto" takes what is
            fastest where it can.
        recompute: compute the inside of each cell again in the backward pass instead of keeping it: the same result
            for less memory and more time.
        tf32: whether a GPU may round the factors of products in float32 to 10 bits (TF32), for several times the speed;
            alpha's own arithmetic has no such products.
        cuda_graph: replay the supernet's passes from CUDA graphs; None is where that can be: on a GPU, unless the
            supernet draws at random or recomputes. What leaves it is then freed between epochs.
        seed: decides every random number of the run.
    """

    epochs: Epochs = 50
    batch: Batch = 64
    lr: Rate = 0.025
    lr_min: Scale = 0.001
    lr_fall: Literal["cosine", "line"] = "cosine"
    momentum: Below1 = 0.9
    nesterov: bool = False
    weight_decay: Scale = 3e-4
    clip: Scale = 5.0
    channels: Channels | None = None
    depth: Depth | None = None
    stem: StemKind = "cifar"
    auxiliary: Scale = 0.0
    cutout: Side | None = None
    alpha_per: Literal["kind", "cell"] = "kind"
    alpha_lr: Rate | None = None
    alpha_speed: Rate = 1.0
    alpha_init: Scale = 1e-3
    alpha_clip: Scale = 0.0
    alpha_warmup: Scale = 0
    prune_warmup: Count = 0
    prune_every: Literal["step", "epoch"] = "step"
    free: Literal["auto", "now", "later"] = "auto"
    eigenvalue_every: Count = 0
    split: Literal["shuffled", "ordered"] = "shuffled"
    backend: Asked = "auto"
    recompute: bool = False
    tf32: bool = True
    cuda_graph: bool | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def warming_up(self, epoch: int) -> bool:
        """Whether alpha stands still in this epoch, counted from 0.

        >>> [SearchSettings(epochs=4, alpha_warmup=warmup).warming_up(1) for warmup in (1, 2, 0.25, 0.5)]
        [False, True, False, True]
        """
        return epoch < self.alpha_warmup * (1 if self.alpha_warmup >= 1 else self.epochs)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Settings of an evaluation; the defaults are those of DARTS on CIFAR (Liu et al., 2019), appendix A.2.1.

    Attributes:
        epochs, batch: passes over the training pictures, and pictures a step.
        lr, lr_min: learning rate, from the first to the second over the epochs.
        lr_fall: how: "cosine", or "line", which slows down in the last five epochs, as on ImageNet.
        momentum, nesterov, weight_decay: of SGD.
        clip: largest norm of the gradient. 0 for none.
        channels, depth: of the network; None takes the size that published numbers stand for: 36 channels and 20
            cells for DARTS on CIFAR, 48 and 14 on ImageNet, 16 and 17 for NAS-Bench-201.
        stem: "cifar", "cifar-half" or "imagenet".
        drop_path: probability of dropping a path in the last epoch; it rises linearly from 0.
        auxiliary: weight of the auxiliary head's loss; 0 for no such head.
        label_smoothing: share of the target spread over all classes.
        cutout: side of the square blanked in training pictures; None takes the data set's own.
        recompute, tf32: as in a search.
        seed: decides every random number of the run.
    """

    epochs: Epochs = 600
    batch: Batch = 96
    lr: Rate = 0.025
    lr_min: Scale = 0.0
    lr_fall: Literal["cosine", "line"] = "cosine"
    momentum: Below1 = 0.9
    nesterov: bool = False
    weight_decay: Scale = 3e-4
    clip: Scale = 5.0
    channels: Channels | None = None
    depth: Depth | None = None
    stem: StemKind = "cifar"
    drop_path: Below1 = 0.2
    auxiliary: Scale = 0.4
    label_smoothing: Below1 = 0.0
    cutout: Side | None = 16
    recompute: bool = False
    tf32: bool = True
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)


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


def as_dict(settings: SearchSettings | EvaluateSettings) -> dict[str, Any]:
    """Settings as plain data, for the run folder."""
    return asdict(settings)
