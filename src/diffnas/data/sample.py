"""The embedded pictures: they come with scikit-learn, and a laptop's CPU can search on them."""

from __future__ import annotations

import torch

from diffnas.data.augment import Augmentation
from diffnas.data.data_set import DataSet
from diffnas.data.pictures import Pictures
from diffnas.data.statistics import channel_statistics
from diffnas.data.stratify import stratified_split

SPLIT_SEED = 0
"""The seed of the division into training and test pictures, the same for everybody."""


def digits() -> DataSet:
    """The 1,797 handwritten digits that scikit-learn carries: grey, 8x8, 1,347 to train and 450 to test.

    They are the test part of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).
    A quarter of each class, chosen with ``SPLIT_SEED``, is the test split. Digits are not mirrored.

    >>> data = digits()
    >>> data.channels, data.size, len(data.train), len(data.test)
    (1, (8, 8), 1347, 450)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    every = Pictures(images=images, labels=torch.from_numpy(bunch.target).long())
    first, second = stratified_split(every.labels, 0.25, SPLIT_SEED)
    train = every.subset(first)
    mean, std = channel_statistics(train)
    return DataSet(
        name="digits",
        train=train,
        test=every.subset(second),
        classes=tuple("0123456789"),
        mean=mean,
        std=std,
        augmentation=Augmentation(pad=1),
    )
