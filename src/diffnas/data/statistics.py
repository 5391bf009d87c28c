"""Mean and standard deviation of the pixels of a split."""

from __future__ import annotations

import torch

from diffnas.data.pictures import Pictures, PictureSplit


def channel_statistics(split: PictureSplit, *, most: int = 10_000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, on a scale where white is 1.

    A split in memory is read whole; of a streamed one, ``most`` pictures are read, evenly spread.
    A channel that never changes gets a deviation of 1, so that a division by it is harmless.

    >>> images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    >>> channel_statistics(Pictures(images=images, labels=torch.tensor([0, 1])))
    ((0.5,), (0.5,))
    """
    count = len(split) if isinstance(split, Pictures) else min(len(split), most)
    indices = torch.linspace(0, len(split) - 1, count).round().long()
    total, squares = torch.zeros(split.channels).double(), torch.zeros(split.channels).double()
    for chunk in torch.split(indices, 1024):
        images = split.take(chunk)[0].double().div_(255)
        total += images.sum((0, 2, 3)).cpu()
        squares += images.square_().sum((0, 2, 3)).cpu()
    pixels = count * split.size[0] * split.size[1]
    mean = total / pixels
    std = (squares / pixels - mean.square()).clamp_(min=0).sqrt()
    return tuple(mean.tolist()), tuple(torch.where(std > 1e-4, std, 1.0).tolist())
