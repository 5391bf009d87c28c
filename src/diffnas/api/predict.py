"""Naming what is in picture files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from diffnas.engine.trained import Trained

Guesses: TypeAlias = list[tuple[str, float]]


def predict_files(
    trained: Trained, pictures: Iterable[str | Path], top: int = 1
) -> Iterator[tuple[Path, Guesses | str]]:
    """For each file, the ``top`` likeliest classes with their probabilities, or the reason why it cannot be read.

    Pictures are brought to the network's size as its training pictures were: scaled to cover it, then cropped.
    """
    for path in map(Path, pictures):
        yield path, _predict(trained, path, top)


def _predict(trained: Trained, path: Path, top: int) -> Guesses | str:
    from PIL import Image, UnidentifiedImageError

    from diffnas.data.decode import fitted, plain

    try:
        with Image.open(path) as file:
            pixels = fitted(plain(file), trained.channels, trained.size)
    except FileNotFoundError:
        return "there is no such file."
    except UnidentifiedImageError:
        return "it is empty, or not a picture."
    except Exception as error:  # What a damaged file makes Pillow raise has no common type.
        return " ".join(f"it cannot be read ({type(error).__name__}: {error}).".split())
    probabilities = trained.predict(pixels.unsqueeze(0))[0]
    best = probabilities.topk(min(top, len(trained.classes)))
    return [(trained.classes[k], float(p)) for p, k in zip(best.values, best.indices.tolist(), strict=True)]
