"""The sizes from which the frame of a supernet or of a network is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from diffnas.genotype import Genotype
from diffnas.nets.frames.frame import FrameFactory, Reading, Sizes
from diffnas.skeleton import Skeleton, StemKind, skeleton_of
from diffnas.space import SearchSpace

if TYPE_CHECKING:
    from typing_extensions import Unpack


def sizes_of_space(
    space: SearchSpace,
    classes: int,
    in_channels: int,
    *,
    channels: int | None = None,
    depth: int | None = None,
    stem: StemKind = "cifar",
    auxiliary: bool = False,
    picture: tuple[int, ...] = (32, 32),
    **sequences: Unpack[Reading],
) -> Sizes:
    """The sizes of a supernet; channels or depth of None are those of the space.

    Raises:
        ValueError: for channels that its operations cannot have.
    """
    skeleton = skeleton_of(space.skeleton)
    channels = space.channels if channels is None else channels
    check_width(skeleton, channels, space.ops)
    return Sizes(
        skeleton=skeleton,
        inputs=in_channels,
        outputs=classes,
        channels=channels,
        depth=space.depth if depth is None else depth,
        joined={kind: skeleton.widths(len(graph.output)) for kind, graph in space.cells.items()},
        reads={kind: graph.inputs for kind, graph in space.cells.items()},
        affine=False,
        stem=stem,
        auxiliary=auxiliary,
        frame=space.frame,
        picture=picture,
        **sequences,
    )


def sizes_of_genotype(
    genotype: Genotype,
    classes: int,
    in_channels: int,
    *,
    channels: int | None = None,
    depth: int | None = None,
    stem: StemKind = "cifar",
    auxiliary: bool = False,
    frame: FrameFactory | None = None,
    picture: tuple[int, ...] = (32, 32),
    **sequences: Unpack[Reading],
) -> Sizes:
    """The sizes of a network. Channels or depth of None are the published ones; a genotype with a cell for each place
    has its own depth.

    Raises:
        ValueError: for another depth than that, channels that its operations cannot have, a cell that passes nothing
            on, or an auxiliary head in a skeleton that has none.
    """
    skeleton = skeleton_of(genotype.skeleton)
    usual_channels, usual_depth = published_shape(skeleton.name, stem)
    depth = (genotype.depth or usual_depth) if depth is None else depth
    if genotype.depth not in (None, depth):
        raise ValueError(
            f"this genotype has one cell for each of {genotype.depth} places, so its network cannot have {depth}. "
            "Leave the depth out."
        )
    if auxiliary and not skeleton.auxiliary:
        raise ValueError(f"the {skeleton.name!r} skeleton has no auxiliary head; build it with auxiliary=False.")
    channels = usual_channels if channels is None else channels
    check_width(skeleton, channels, [each.op for cell in genotype.cells.values() for each in cell.connections])
    return Sizes(
        skeleton=skeleton,
        inputs=in_channels,
        outputs=classes,
        channels=channels,
        depth=depth,
        joined={kind: skeleton.widths(nodes) for kind, nodes in widths_of(genotype).items()},
        reads={kind: cell.inputs for kind, cell in genotype.cells.items()},
        affine=True,
        stem=stem,
        auxiliary=auxiliary,
        frame=frame,
        picture=picture,
        **sequences,
    )


def check_width(skeleton: Skeleton, channels: int, ops: Iterable[str]) -> None:
    """Refuse channels that the heads of attention do not divide.

    Raises:
        ValueError: with the nearest channels that would do.
    """
    step = skeleton.width_step(ops)
    if channels % step:
        below = channels - channels % step
        near = [each for each in (below, below + step) if each]
        raise ValueError(
            f"{channels} channels cannot be shared by the heads of attention, which need a multiple of {step}. Take "
            f"{' or '.join(map(str, near))}."
        )


def size_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The size in an input's shape: height and width of a picture, or the steps of a sequence of tokens or vectors.

    >>> size_of((3, 8, 8)), size_of((64,)), size_of((64, 2))
    ((8, 8), (64,), (64,))
    """
    return shape[1:] if len(shape) == 3 else shape[:1]


def published_shape(skeleton: str, stem: StemKind = "cifar") -> tuple[int, int]:
    """Channels and depth of the networks with published results (DARTS, Liu et al., 2019; NAS-Bench-201).

    >>> published_shape("darts"), published_shape("darts", "imagenet"), published_shape("nas-bench-201")
    ((36, 20), (48, 14), (16, 17))
    """
    published = skeleton_of(skeleton).published
    return published.get(stem, published["cifar"])


def widths_of(genotype: Genotype) -> dict[str, int]:
    """For each kind of cell, how many nodes its output concatenates.

    Raises:
        ValueError: for a cell that passes nothing on.
    """
    counts = {kind: len(genotype.built(kind)[1]) for kind in genotype.cells}
    for kind, count in counts.items():
        if not count:
            raise ValueError(
                f"the cell {kind!r} passes nothing on: no connections lead from its inputs to its output nodes "
                f"{', '.join(map(str, genotype.cells[kind].output))}. Add a connection, or choose a genotype of "
                "another epoch."
            )
    return counts
