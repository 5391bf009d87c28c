"""The options of a search and an evaluation, except space, method and data. No torch.

Each option is declared here once: its type and bounds with its field, and its purpose in the docstring. The arguments
in Python, the options on the command line, and their page in the documentation are made from these declarations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from diffnas.backends import Asked
from diffnas.engine.purposes import OWN
from diffnas.skeleton import StemKind
from diffnas.values import (
    PROCESSES,
    SEED,
    THREADS,
    Heading,
    check_fields,
    checked,
    explained,
    helps,
    kinds,
    read,
    real,
    whole,
)

DATA, SIZES, WEIGHTS = Heading("Data"), Heading("How long, how large"), Heading("Weights")
SEQUENCES, ALPHA, MACHINE = Heading("Texts and sequences"), Heading("Alpha and pruning"), Heading("Machine")

# The bounds are far wider than anybody needs, and narrow enough for all computations with these numbers.
Epochs: TypeAlias = Annotated[int, whole(1, 1_000_000), SIZES]
Batch: TypeAlias = Annotated[int, whole(1, 1_000_000), SIZES]
Channels: TypeAlias = Annotated[int, whole(1, 10_000), SIZES]
Depth: TypeAlias = Annotated[int, whole(1, 200), SIZES]
Count: TypeAlias = Annotated[int, whole(0, 1_000_000)]
Side: TypeAlias = Annotated[int, whole(0, 10_000), WEIGHTS]
Rate: TypeAlias = Annotated[float, real(0, 1e30, above=True)]
Scale: TypeAlias = Annotated[float, real(0, 1e6)]
Below1: TypeAlias = Annotated[float, real(0, 1, below=True)]

Share: TypeAlias = Annotated[float, real(0, 1, below=True), SEQUENCES]
Steps: TypeAlias = Annotated[int, whole(1, 100_000), SEQUENCES]

S = TypeVar("S", bound="SearchSettings | EvaluateSettings")


@dataclass(frozen=True, kw_only=True)
class Source:
    """The pictures of a run, except the name of the data; None for what is not given.

    Attributes:
        data_dir: Folder with the files of CIFAR.
        download: Download CIFAR if the folder does not have it.
        size: Height and width of the resized pictures. Only for folders and the hub.
        stream: Read pictures from disk in each epoch. None is kept in memory. The default streams data whose pixels
            need more than 2 GiB. Only for folders and the hub.
        train: Number of training pictures in the search. The default is the recipe's number, or all.
        tokens: What a network reads of a text: characters or words. The default is characters, or words for a large
            text of many different characters.
        encoding: How the files of a text are encoded, such as latin-1. The default is utf-8.
        lower: Read words in lower case. The default is yes for words, and no for characters.
    """

    data_dir: Annotated[str | Path | None, DATA] = None
    download: Annotated[bool, DATA] = False
    size: Annotated[int | None, DATA] = None
    stream: Annotated[bool | None, DATA] = None
    train: Annotated[int | None, DATA] = None
    tokens: Annotated[Literal["characters", "words"] | None, DATA] = None
    encoding: Annotated[str | None, DATA] = None
    lower: Annotated[bool | None, DATA] = None

    def __post_init__(self) -> None:
        checked("tokens", Literal["characters", "words"] | None, self.tokens)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine of a run; None for what is not given.

    Attributes:
        device: auto, cpu or cuda. auto is cuda if there is a GPU, else cpu.
        precision: 32-true, bf16-mixed or 64-true. Alpha is float64 in 64-true, else float32.
        threads: Number of CPU threads that compute. The default is the recipe's number, else torch's. A resumed run
            keeps its number, because the last digits depend on it. With devices, it is the number of each process.
        devices: Number of processes on each machine. They compute the run together. The default is 1, or those that
            torchrun or SLURM has started. A GPU run has one process for each GPU. In Python, the script is run again
            for each of them.
        nodes: Number of machines. The command is started once on each, where MASTER_ADDR, MASTER_PORT and NODE_RANK
            say where the first is, and which one it is itself.
    """

    device: Annotated[str | None, MACHINE] = None
    precision: Annotated[str | None, MACHINE] = None
    threads: Annotated[int | None, THREADS, MACHINE] = None
    devices: Annotated[int | None, PROCESSES, MACHINE] = None
    nodes: Annotated[int | None, PROCESSES, MACHINE] = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The wanted cost of the network that will be deployed; None for what is not given.

    Attributes:
        target: Cost of the network, such as macs=20M. Also params<=500k, memory=8MiB and latency=5ms; several are
            joined by commas. = is met within 5 %, and <= is an upper limit. The network has the size of the
            evaluation, or another size if no cells could cost that. In an evaluation, the channels follow from it.
        targets: A family of costs, such as 2M,5M,10M or params=100k,200k. Cells for each cost are kept beside the
            result.
        width: Whether the width is fitted: fit or fixed. fit, the default, changes the width of the network after the
            search to meet the target.
        runtime: Runtime that measures latencies. onnxruntime, the default where it is installed, or torch.
        multiplier: How strong the penalty is at first. A number, 1 by default, or balance: as strong as the loss while
            alpha warms up.
        targets_by: How cells for --targets are found. reread, the default, steers to the middle and reads the trace
            again after the search; tighten lowers the target during the search and keeps cells on the way.
    """

    target: Annotated[str | None, SIZES] = None
    targets: Annotated[str | None, SIZES] = None
    width: Annotated[str | None, SIZES] = None
    runtime: Annotated[str | None, SIZES] = None
    multiplier: Annotated[str | None, SIZES] = None
    targets_by: Annotated[str | None, SIZES] = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings that the training of a supernet and that of a network have in common.

    Attributes:
        epochs: Passes over the training pictures.
        batch: Pictures in a step.
        channels: Channels of the first cells. None takes the space's number. In an evaluation, None takes that of
            published results: 36 for DARTS on CIFAR, 48 on ImageNet, 16 for NAS-Bench-201.
        depth: Number of cells. None takes the space's number. In an evaluation, None takes that of published results:
            20 for DARTS on CIFAR, 14 on ImageNet, 17 for NAS-Bench-201.
        stem: Layers before the cells. "cifar-half" has stride 2, for a quarter of the work.
        lr: Learning rate of the weights.
        lr_min: Learning rate of the weights at the end.
        lr_fall: How the learning rate falls. "line" slows down in the last five epochs, as on ImageNet.
        optimizer: What moves the weights. Weight decay adds to the gradients of "sgd" and "adam". "adamw" makes each
            weight smaller by the learning rate times the decay (Loshchilov & Hutter, 2019).
        momentum: Momentum of the weights' SGD. Also Adam's first beta; its second is 0.999.
        nesterov: Nesterov's momentum, for sgd only.
        weight_decay: Weight decay of the weights.
        decay: Which weights decay. "matrices" are those of convolutions and linear layers, not norms, biases and
            tables of positions.
        clip: Largest norm of the weights' gradient; 0 for no limit. Alpha is never clipped with them.
        auxiliary: Weight of an auxiliary head's loss. 0 for no such head.
        cutout: Side of the square blanked in training pictures. At most half the picture; None takes the data set's.
        flip: Mirror every second training picture. It is chosen at random and mirrored left to right, which is wrong
            for digits and text. None leaves this to the data set; a user's own pictures are mirrored.
        window: Steps of a sequence that are read at once. Gradients do not go further back, and a transformer does not
            see further.
        windows: How the lengths of windows are drawn. "fixed" takes them all alike, "halved" halves one of twenty, and
            "varied" draws around that with a deviation of 5. The learning rate of a step follows its length.
        dropout: Dropout of what the head of a net of sequences reads.
        dropoute: Dropout of whole tokens of a text.
        dropouti: Dropout of the embedded tokens of a text.
        dropoutx: Dropout of the input of recurrent cells.
        dropouth: Dropout of the state and nodes of recurrent cells.
        activation: Weight of the mean square of what the head reads.
            It is added to the training loss.
        temporal: Weight of the mean square change of what the head reads.
            The change is from one step to the next. The term is added to the training loss.
        start: Largest initial weight of a recurrent net. None takes one over the root of its channels.
        seed: Seed of all random numbers. The next seeds each replace it for one purpose.
        weights_seed: Seed of the initial weights. None takes the seed.
        order_seed: Seed of the order and variation of the pictures. None takes the seed. It also halves
            them, if the level needs halves.
        recompute: Less memory, more time, the same result. The backward pass computes the inside of each cell again,
            so that it need not be kept.
        tf32: Let a GPU round the factors of float32 products to 10 bits. This is TF32, for several times the speed.
            The arithmetic of alpha itself has no such products.
        sync_norm: Let batch norm take the pictures of all processes of a run. Otherwise it takes those of one process.
            PyTorch then computes the cells, operation by operation.
    """

    epochs: Epochs
    batch: Batch
    channels: Channels | None = None
    depth: Depth | None = None
    stem: Annotated[StemKind, SIZES] = "cifar"
    lr: Annotated[Rate, WEIGHTS] = 0.025
    lr_min: Annotated[Scale, WEIGHTS]
    lr_fall: Annotated[Literal["cosine", "line"], WEIGHTS] = "cosine"
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], WEIGHTS] = "sgd"
    momentum: Annotated[Below1, WEIGHTS] = 0.9
    nesterov: Annotated[bool, WEIGHTS] = False
    weight_decay: Annotated[Scale, WEIGHTS] = 3e-4
    decay: Annotated[Literal["all", "matrices"], WEIGHTS] = "all"
    clip: Annotated[Scale, WEIGHTS] = 5.0
    auxiliary: Annotated[Scale, WEIGHTS]
    cutout: Side | None
    flip: Annotated[bool | None, WEIGHTS] = None
    window: Steps = 35
    windows: Annotated[Literal["fixed", "halved", "varied"], SEQUENCES] = "fixed"
    dropout: Share = 0.0
    dropoute: Share = 0.0
    dropouti: Share = 0.0
    dropoutx: Share = 0.0
    dropouth: Share = 0.0
    activation: Annotated[Scale, SEQUENCES] = 0.0
    temporal: Annotated[Scale, SEQUENCES] = 0.0
    start: Annotated[Rate | None, SEQUENCES] = None
    seed: Annotated[int, SEED, SIZES] = 0
    weights_seed: Annotated[int | None, SEED, SIZES] = None
    order_seed: Annotated[int | None, SEED, SIZES] = None
    recompute: Annotated[bool, MACHINE] = False
    tf32: Annotated[bool, MACHINE] = True
    sync_norm: Annotated[bool, WEIGHTS] = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.nesterov and self.optimizer != "sgd":
            raise ValueError(f"nesterov is for sgd, and the optimizer is {self.optimizer}. Leave one of them out.")

    @property
    def remembered(self) -> int:
        """How many numbers the optimizer remembers for each weight."""
        return int(self.momentum > 0) if self.optimizer == "sgd" else 2

    @property
    def sizes(self) -> dict[str, Any]:
        """The settings of the size of a net, by name."""
        return {"channels": self.channels, "depth": self.depth, "stem": self.stem}

    def seed_for(self, purpose: str) -> int:
        """The seed of the random numbers for a purpose, such as "weights" or "order".

        >>> settings = SearchSettings(seed=1, order_seed=2)
        >>> settings.seed_for("weights"), settings.seed_for("order"), settings.seed_for("mix")
        (1, 2, 1)
        """
        own: int | None = getattr(self, OWN[purpose]) if purpose in OWN else None
        return self.seed if own is None else own


@explained
@dataclass(frozen=True, kw_only=True)
class SearchSettings(Training):
    """Settings of a search; the defaults are those of DARTS (Liu et al., 2019), appendix A.1.1.

    Attributes:
        alpha_per: Which cells share alpha and operations. "kind": all cells of a kind; "cell": each cell has its own.
        alpha_lr: Learning rate of alpha. None takes the method's, times alpha_speed.
        alpha_speed: Factor of alpha's learning rate. A short search needs a larger one, because alpha can move by its
            learning rate times the number of steps.
        alpha_init: Standard deviation of the initial alpha. It is normally distributed around 0.
        alpha_seed: Seed of the initial alpha. None takes the seed.
        alpha_clip: Largest norm of alpha's own gradient; 0 for no limit.
        alpha_warmup: Epochs in which alpha stands still. Nothing is removed in them. A number below 1 is a share of
            all epochs.
        prune_warmup: Epochs in which nothing is removed.
        prune_every: When removals are decided. After each step, or only at the end of an epoch.
        eigenvalue_every: Epochs from one measured eigenvalue to the next. 0 for never. The eigenvalue is the largest
            of the Hessian for alpha, and the first epoch measures it too. This takes as long as several dozen steps,
            and several times the memory of a step.
        alpha_from: Run whose last alpha is the first one here. None draws it.
        alpha_shrink: Factor of the alpha of that run. Below 1, the search can still change its mind.
        alpha_keep: Keep only the operations that are left in that run.
        pretext_epochs: Epochs of the pretext, before those of the search. Alpha stands still in them.
        pretext_lr: Learning rate of the weights in the pretext. None takes lr.
        pretext_own: No pictures for the pretext but those of the weights. It needs no labels, so by default it
            sees the half of alpha too.
        split: How pictures are halved for a level that needs halves. "shuffled" by the seed; or "ordered", the first
            and the second half, as in DARTS' code.
        backend: What computes the cells. "cpu" and "gpu" are our own kernels, in float32. "plain" is PyTorch,
            operation by operation, with the same values and gradients up to rounding. "auto" is the fastest that
            works.
        cuda_graph: Replay the supernet's passes from CUDA graphs. None does so on a GPU, unless the supernet draws at
            random or recomputes. Removed operations are then freed between epochs.
        free: When removed operations are freed. "now" makes a GPU wait in each step. "later" frees them once the host
            has received the decision without waiting. Until then they run with a weight of 0, for the same result up
            to rounding. "auto" is "later" on a GPU.
    """

    epochs: Epochs = 50
    batch: Batch = 64
    lr_min: Annotated[Scale, WEIGHTS] = 0.001
    auxiliary: Annotated[Scale, WEIGHTS] = 0.0
    cutout: Side | None = None
    alpha_per: Annotated[Literal["kind", "cell"], ALPHA] = "kind"
    alpha_lr: Annotated[Rate | None, ALPHA] = None
    alpha_speed: Annotated[Rate, ALPHA] = 1.0
    alpha_init: Annotated[Scale, ALPHA] = 1e-3
    alpha_seed: Annotated[int | None, SEED, ALPHA] = None
    alpha_clip: Annotated[Scale, ALPHA] = 0.0
    alpha_warmup: Annotated[Scale, ALPHA] = 0
    prune_warmup: Annotated[Count, ALPHA] = 0
    prune_every: Annotated[Literal["step", "epoch"], ALPHA] = "step"
    eigenvalue_every: Annotated[Count, ALPHA] = 0
    alpha_from: Annotated[str | None, ALPHA] = None
    alpha_shrink: Annotated[Rate, ALPHA] = 0.5
    alpha_keep: Annotated[bool, ALPHA] = False
    pretext_epochs: Annotated[Count, SIZES] = 0
    pretext_lr: Annotated[Rate | None, WEIGHTS] = None
    pretext_own: Annotated[bool, SIZES] = False
    split: Annotated[Literal["shuffled", "ordered"], ALPHA] = "shuffled"
    backend: Annotated[Asked, MACHINE] = "auto"
    cuda_graph: Annotated[bool | None, MACHINE] = None
    free: Annotated[Literal["auto", "now", "later"], MACHINE] = "auto"

    def warming_up(self, epoch: int) -> bool:
        """Whether alpha stands still in this epoch, counted from 0.

        >>> [SearchSettings(epochs=4, alpha_warmup=warmup).warming_up(1) for warmup in (1, 2, 0.25, 0.5)]
        [False, True, False, True]
        """
        return epoch < _in_epochs(self.alpha_warmup, self.epochs)


@explained
@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Training):
    """Settings of an evaluation; the defaults are those of DARTS on CIFAR (Liu et al., 2019), appendix A.2.1.

    Attributes:
        drop_path: Probability that a path is dropped in the last epoch. It rises linearly from 0. In transformers it
            also rises from 0 in the first branch to this in the last.
        label_smoothing: Share of the target that is spread over all classes.
        warmup: Epochs in which the learning rate rises to lr. It rises linearly from 0, step by step. A number below 1
            is a share of all epochs.
        averaging: Average the weights once the loss stops falling. It is the validation loss of a text, as in NT-ASGD
            (AWD-LSTM). The averages are judged and kept.
    """

    epochs: Epochs = 600
    batch: Batch = 96
    lr_min: Annotated[Scale, WEIGHTS] = 0.0
    auxiliary: Annotated[Scale, WEIGHTS] = 0.4
    cutout: Side | None = 16
    drop_path: Annotated[Below1, WEIGHTS] = 0.2
    label_smoothing: Annotated[Below1, WEIGHTS] = 0.0
    warmup: Annotated[Scale, WEIGHTS] = 0
    averaging: Annotated[bool, SEQUENCES] = False

    def warmed(self, step: int, steps: int) -> float:
        """The factor of the learning rate in a step, which is counted from 0; an epoch has ``steps`` steps.

        >>> [EvaluateSettings(epochs=4, warmup=warmup).warmed(2, steps=3) for warmup in (0, 1, 2, 0.5)]
        [1.0, 1.0, 0.5, 0.5]
        """
        rising = _in_epochs(self.warmup, self.epochs) * steps
        return min(1.0, (step + 1) / rising) if rising else 1.0


def _in_epochs(length: float, epochs: int) -> float:
    """A length in epochs. A ``length`` below 1 is a share of all ``epochs``."""
    return length if length >= 1 else length * epochs


HOW = tuple(name for name, each in helps(SearchSettings).items() if each.heading == MACHINE)
"""Settings that say how a run is computed. They change at most the last digits of a result."""


def check_names(kind: type[Training], names: Iterable[str]) -> None:
    """Raise an error if a name is not a setting of ``kind``.

    Raises:
        ValueError: for the first such name, with the most similar setting.
    """
    known = list(kinds(kind))
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown setting {name!r}.{hint} Known: {', '.join(known)}.")


def merge_settings(kind: type[S], *layers: Mapping[str, Any]) -> S:
    """Settings of ``kind`` from layers of options. Later layers replace earlier ones; text becomes the setting's type.

    Raises:
        ValueError: if an option is not a setting of ``kind``, with the most similar one; or if a value does not have
            the setting's type, or is out of its bounds.

    >>> merge_settings(SearchSettings, {"epochs": 200}, {"epochs": "3"}).epochs
    3
    """
    known = kinds(kind)
    merged = {name: option for layer in layers for name, option in layer.items()}
    check_names(kind, merged)
    texts: dict[str, Any] = {name: read(known[name], text) for name, text in merged.items() if isinstance(text, str)}
    return kind(**{**merged, **texts})


def as_dict(settings: Training) -> dict[str, Any]:
    """Settings as plain data, for the run folder."""
    return asdict(settings)
