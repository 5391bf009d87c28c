"""Time the augmentation of a batch against a pipeline that processes one picture after the other through PIL.

    python benchmarks/augmentation.py --batch 64 96

The pipeline works like the official code of DARTS: PIL pads, crops and mirrors, NumPy converts the pixels for a tensor,
torch normalizes, a NumPy mask cuts out, and ``torch.stack`` makes the batch. Both start from uint8 pixels in memory and
the indices of pictures, and end with a float32 batch. Before anything is timed, both must give the same batch for the
same random numbers. One thread computes; seconds are CPU seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np
import torch
from common import interleaved, machine, table
from PIL import Image, ImageOps
from torch import Tensor

from diffnas.data.augment import Augmentation, Kernels, augment
from diffnas.data.pictures import Pictures

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

# Where a crop begins, whether it is mirrored, and the center of the square that cutout blanks (0, 0 without cutout).
Draw = tuple[int, int, bool, int, int]
SEARCH, EVALUATION = Augmentation(pad=4, flip=True), Augmentation(pad=4, flip=True, cutout=16)


def one_picture(pixels: np.ndarray, how: Augmentation, draw: Draw) -> Tensor:
    """The picture ``pixels``, uint8 ``(H, W, 3)``, varied and normalized: ``(3, H, W)``."""
    top, left, mirrored, row, column = draw
    picture = Image.fromarray(pixels)
    W, H = picture.size
    picture = ImageOps.expand(picture, border=how.pad, fill=0).crop((left, top, left + W, top + H))
    if mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
    x.sub_(torch.tensor(MEAN).view(-1, 1, 1)).div_(torch.tensor(STD).view(-1, 1, 1))
    if how.cutout:
        mask = np.ones((H, W), np.float32)
        rows, columns = (slice(max(0, at - how.cutout // 2), at + how.cutout // 2) for at in (row, column))
        mask[rows, columns] = 0.0
        x *= torch.from_numpy(mask)
    return x


def per_picture(images: Sequence[np.ndarray], how: Augmentation, draws: Callable[[], list[Draw]]) -> Tensor:
    """A batch made one picture after the other, ``(B, 3, H, W)``."""
    return torch.stack([one_picture(pixels, how, draw) for pixels, draw in zip(images, draws(), strict=True)])


def drawn_alone(count: int, size: int, how: Augmentation, generator: torch.Generator) -> list[Draw]:
    """The random numbers of each picture, drawn for it alone, as a pipeline's transforms draw them."""

    def below(bound: int) -> int:
        return int(torch.randint(bound, (1,), generator=generator))

    spots = 2 * how.pad + 1
    return [
        (below(spots), below(spots), below(2) == 1, *((below(size), below(size)) if how.cutout else (0, 0)))
        for _ in range(count)
    ]


def drawn_together(count: int, size: int, how: Augmentation, generator: torch.Generator) -> list[Draw]:
    """The same numbers as ``augment`` draws, in its order; a mirrored picture counts its crop from the other side."""
    bounds = [2 * how.pad + 1] * 2 + [2] + [size] * 2 * bool(how.cutout)
    columns = [torch.randint(bound, (count,), generator=generator).tolist() for bound in bounds]
    columns += [[0] * count] * (5 - len(columns))
    return [(top, 2 * how.pad - left if flip else left, flip == 1, y, x) for top, left, flip, y, x in zip(*columns)]  # noqa: B905


def repeated(run: Callable[[], object], times: int) -> Callable[[], None]:
    """A function that calls ``run`` ``times`` times, so that a turn is long enough for the clock."""

    def turn() -> None:
        for _ in range(times):
            run()

    return turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=20, help="batches in a turn")
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"# Augmenting a batch of {options.size}x{options.size} pictures\n\n{machine()}\n")
    size, generator = options.size, torch.Generator().manual_seed(0)
    images = torch.randint(256, (4096, 3, size, size), generator=generator, dtype=torch.uint8)
    split = Pictures(images=images, labels=torch.zeros(4096, dtype=torch.int64))
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    for batch in options.batch:
        indices = torch.randperm(4096, generator=generator)[:batch]
        for title, how in (("crop, flip, normalize", SEARCH), ("crop, flip, normalize, cutout", EVALUATION)):

            def batched(how: Augmentation = how, indices: Tensor = indices, kernels: Kernels = "auto") -> Tensor:
                generator.manual_seed(0)
                return augment(split.take(indices)[0], how, MEAN, STD, generator, kernels=kernels)

            def alone(
                draw: Callable[..., list[Draw]] = drawn_alone, how: Augmentation = how, indices: Tensor = indices
            ) -> Tensor:
                generator.manual_seed(0)
                picked = [pixels[index] for index in indices.tolist()]
                return per_picture(picked, how, lambda: draw(len(picked), size, how, generator))

            torch.testing.assert_close(batched(), alone(drawn_together), rtol=0, atol=1e-5)
            contenders = {
                "one picture at a time": alone,
                "batched, torch alone": repeated(partial(batched, kernels="stock"), options.repeats),
                "batched": repeated(batched, options.repeats),
            }
            seconds = interleaved(contenders, rounds=options.rounds, warm_up=3, clock=time.process_time)
            for name in list(seconds)[1:]:
                seconds[name] = [each / options.repeats for each in seconds[name]]
            rates = [f"{batch / median(each):,.0f}" for each in seconds.values()]
            print(f"## {title}, batch {batch}\n")
            print(table(seconds, ["one picture at a time"], {"pictures a second": rates}), end="\n\n")


if __name__ == "__main__":
    main()
