"""A user's own pictures and labels: accepted if their meaning is certain, else refused with code that mends them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PICTURES, _LABELS = ("image", "img"), ("label",)
_RENUMBER = "names = sorted(set(labels)); labels = [names.index(label) for label in labels]"


@dataclass(frozen=True, kw_only=True)
class _Words:
    """The words that an error message uses for pictures or labels.

    Attributes:
        what: their name in a sentence: "training pictures".
        code: their name in code: "pictures".
        array: whether they are a NumPy array, whose methods have other names than a tensor's.
    """

    what: str
    code: str
    array: bool

    def turned(self, *axes: int) -> str:
        """The code that a user can run to put the axes in this order."""
        return f"{self.code}.{'transpose' if self.array else 'permute'}({', '.join(map(str, axes))})"

    def to(self, dtype: str) -> str:
        """The code that a user can run to convert to ``dtype``."""
        return f"{self.code}.astype({dtype!r})" if self.array else f"{self.code}.to(torch.{dtype})"


def pictures_of(given: Any, what: str) -> Tensor:
    """Pictures as uint8, ``(pictures, channels, H, W)``, on the host.

    Args:
        given: a tensor or an array, ``(pictures, channels, H, W)`` or, if grey, ``(pictures, H, W)``: uint8, or floats
            from 0 to 1.
        what: the split, for errors: "training".

    Raises:
        ValueError: for any other type, shape or range; the message has the code that mends it, if some code can.
    """
    words = _Words(what=f"{what} pictures", code="pictures", array=isinstance(given, np.ndarray))
    images = _tensor(given, words)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim != 4:
        shape = tuple(images.shape)
        raise ValueError(f"{words.what} have shape {shape}; (pictures, channels, H, W) works, or (pictures, H, W).")
    _check_channels(tuple(images.shape), words)
    return _to_bytes(images, words)


def picture_of(given: Any) -> Tensor:
    """One picture as uint8, ``(channels, H, W)``, on the host; from ``(channels, H, W)`` or, if grey, ``(H, W)``.

    Raises:
        ValueError: for what ``pictures_of`` refuses.
    """
    words = _Words(what="its pixels", code="picture", array=isinstance(given, np.ndarray))
    image = _tensor(given, words)
    if image.ndim == 2:
        image = image.unsqueeze(0)
    if image.ndim != 3:
        raise ValueError(f"{words.what} have shape {tuple(image.shape)}; (channels, H, W) works, or (H, W).")
    _check_channels(tuple(image.shape), words)
    return _to_bytes(image, words)


def labels_of(given: Any, what: str) -> Tensor:
    """Labels on the host: int64 ``(pictures,)``, or float32 ``(pictures, classes)`` of 0 and 1.

    They come from a tensor, an array or a list. A column ``(pictures, 1)`` of whole numbers is one label each.

    Raises:
        ValueError: unless there is one whole number for each picture, or 0 or 1 for each picture and class; the
            message has the code that mends them.
    """
    listed = np.asarray(given) if isinstance(given, list | tuple) else given
    words = _Words(what=f"{what} labels", code="labels", array=isinstance(listed, np.ndarray))
    if isinstance(listed, np.ndarray) and listed.dtype.kind in "USO":
        raise ValueError(f"{words.what} are text or objects. Number them, and pass classes=names: {_RENUMBER}")
    labels = _tensor(listed, words)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.flatten()
    if labels.ndim == 2 and bool(((labels == 0) | (labels == 1)).all()):
        return labels.float()
    if labels.ndim != 1:
        shape = tuple(labels.shape)
        raise ValueError(f"{words.what} have shape {shape}; (pictures,) works, or (pictures, classes) of 0 and 1.")
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"{words.what} must be whole numbers, not {labels.dtype}: each is a class, and real numbers cannot be "
            f"learned yet. Pass {words.to('int64')}."
        )
    return labels.long()


def pair_of(item: Any, what: str) -> tuple[Any, int]:
    """The picture and the label of one item of a data set.

    Args:
        item: ``(picture, label)``, or ``{"image": picture, "label": label}`` as in the Hugging Face hub.
        what: the item's name, for errors: "training item 3".

    Raises:
        ValueError: for an item of any other form; the message says which forms work.
    """
    if isinstance(item, Mapping):
        found = [[name for name in names if name in item] for names in (_PICTURES, _LABELS)]
        if [len(names) for names in found] != [1, 1]:
            keys = ", ".join(repr(key) for key in item)
            raise ValueError(f"{what} has the keys {keys}; 'image' and 'label' work, or a pair (picture, label).")
        item = tuple(item[name] for (name,) in found)
    if not isinstance(item, tuple | list) or len(item) != 2:
        size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise ValueError(f"{what} is a {type(item).__name__}{size}; a pair (picture, label) works.")
    picture, label = item
    if isinstance(picture, numbers.Number | str) and not isinstance(label, numbers.Number | str):
        raise ValueError(f"{what} has {picture!r} where its picture should be. Pass (picture, label), in this order.")
    return picture, _label(label, what)


def _label(given: Any, what: str) -> int:
    """A label as a whole number; a tensor or array of one number counts as that number."""
    if isinstance(given, Tensor | np.ndarray):
        if np.prod(given.shape) != 1:
            hint = (
                "If it marks several classes: pass arrays, ((pictures, labels), (pictures, labels)). "
                "If it is one-hot: pass int(label.argmax())."
            )
            raise ValueError(f"{what} has a label of shape {tuple(given.shape)}; a whole number works. {hint}")
        given = given.item()
    if isinstance(given, str):
        raise ValueError(f"{what} has the label {given!r}: text. Pass names.index(label), and classes=names.")
    if isinstance(given, bool | np.bool_) or not isinstance(given, numbers.Integral):
        hint = " Pass int(label)." if isinstance(given, bool | np.bool_ | numbers.Real) else ""
        raise ValueError(f"{what} has the label {given!r}; whole numbers work.{hint}")
    if given < 0:
        raise ValueError(f"{what} has label {given}; labels start at 0.")
    return int(given)


def classes_of(classes: Any, highest: int, pictures: int) -> tuple[str, ...]:
    """The name of each class: the names given, or else the labels themselves.

    Args:
        classes: names, or None.
        highest: the highest label; -1 if there is none.
        pictures: how many training pictures there are; there cannot be more classes.

    Raises:
        ValueError: for a label without a class, more classes than training pictures, or no pictures at all.
    """
    if classes is not None:
        names = tuple(classes)
        if highest >= len(names):
            raise ValueError(f"labels run up to {highest}, and classes from 0 to {len(names) - 1}. Name all of them.")
        return names
    if not pictures:
        raise ValueError("there is no training picture.")
    if highest >= pictures:
        raise ValueError(
            f"labels run up to {highest}, and there are {pictures} training pictures. The labels of n classes are 0 to "
            "n-1, each with a training picture. Renumber them: torch.as_tensor(labels).unique(return_inverse=True)[1]"
        )
    return tuple(str(label) for label in range(highest + 1))


def refuse_one_hot(splits: Mapping[str, Tensor]) -> None:
    """Refuse labels ``(pictures, classes)`` that put every picture of all splits into exactly one class.

    Raises:
        ValueError: with the code that mends them, because they are more surely one-hot than labels of several classes.
    """
    tables = {what: labels for what, labels in splits.items() if labels.ndim == 2}
    if tables and all(bool((labels.sum(1) == 1).all()) for labels in tables.values()):
        what, labels = next(iter(tables.items()))
        shape = tuple(labels.shape)
        raise ValueError(
            f"{what} labels have shape {shape} and put each picture into one class. They look one-hot: pass "
            "labels.argmax(1)."
        )


def _tensor(given: Any, words: _Words) -> Tensor:
    """The tensor or array as a tensor on the host, detached from autograd."""
    if isinstance(given, Tensor):
        return given.detach().cpu()
    if not isinstance(given, np.ndarray):
        raise ValueError(f"{words.what} must be a tensor or a NumPy array, not a {type(given).__name__}.")
    try:
        return torch.from_numpy(np.require(given, requirements=["C", "W"]))
    except TypeError:
        raise ValueError(
            f"{words.what} are an array of {given.dtype}; integers and floats of up to 64 bits work."
        ) from None


def _check_channels(shape: tuple[int, ...], words: _Words) -> None:
    """Refuse pictures ``(..., channels, H, W)`` whose number of channels is neither 1 nor 3."""
    channels, last = shape[-3], shape[-1]
    if channels in (1, 3):
        return
    told = f"{words.what} have shape {shape} and so {channels} channels; 1 (grey) and 3 (color) work."
    front = range(len(shape) - 3)
    colors = f"[{':, ' * len(front)}:3]"
    turned = words.turned(*front, len(shape) - 1, len(shape) - 3, len(shape) - 2)
    if last in (1, 3):
        raise ValueError(f"{told} The channels look last: pass {turned}.")
    if last == 4:
        raise ValueError(f"{told} They look like RGBA with the channels last: pass {turned}{colors}.")
    if channels == 4:
        raise ValueError(f"{told} They look like RGBA: pass {words.code}{colors}.")
    raise ValueError(told)


def _to_bytes(images: Tensor, words: _Words) -> Tensor:
    """Pictures as uint8, from uint8 or from floats between 0 and 1."""
    if images.dtype == torch.uint8:
        return images
    if images.is_complex():
        raise ValueError(f"{words.what} are {images.dtype}; uint8 works, or floats from 0 to 1.")
    counted = images if images.is_floating_point() else images.to(torch.int64)
    low, high = (bound.item() for bound in counted.aminmax()) if images.numel() else (0, 0)
    if images.is_floating_point() and low >= 0 and high <= 1:
        return images.mul(255).round().to(torch.uint8)
    seen = f"{images.dtype} from {low:g} to {high:g}".removeprefix("torch.")
    raise ValueError(
        f"{words.what} are {seen}; uint8 works, or floats from 0 to 1. {_mending(images, low, high, words)}"
    )


def _mending(images: Tensor, low: float, high: float, words: _Words) -> str:
    """Advice for pictures of a wrong type or range, as a sentence with code."""
    floats = images.is_floating_point()
    if not (-np.inf < low and high < np.inf):
        return "Some of them are not finite numbers."
    if low < 0:
        return "They look normalized: pass them before any normalization, or as uint8."
    if high > 255:
        return f"Scale them to 0 to 255, and pass {words.to('uint8')}."
    if floats or high > 1:
        return f"They look like bytes: pass {words.to('uint8')}."
    return f"They look like black and white: pass {words.to('uint8')} * 255."
