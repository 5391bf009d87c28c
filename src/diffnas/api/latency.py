"""Latency: how long the networks of a space take on this machine."""

from __future__ import annotations

from typing import Any

from diffnas.api.notes import recipe_named
from diffnas.api.targets import usual_size
from diffnas.deploy.latency import Latency
from diffnas.deploy.latency import latency as timed
from diffnas.engine.listen import Listener, Silent
from diffnas.engine.settings import EvaluateSettings, merge_settings
from diffnas.lookup import lookup
from diffnas.nets.sized import SizedSpace
from diffnas.space import SPACES, SearchSpace
from diffnas.values import whole

SIDE, CLASSES, COLORS = whole(1, 4096), whole(1, 1_000_000), whole(1, 1024)


def latency(
    space: str | SearchSpace,
    *,
    recipe: str | None = None,
    picture: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    runtime: str | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Latency:
    """The seconds of each operation of a space on this machine, and a linear fit from their sums to whole networks.

    Args:
        space: a space or the name of one.
        recipe: the recipe that gives the size of the networks; by default "published".
        picture: channels, height and width of the pictures.
        classes: how many classes there are.
        runtime: "onnxruntime", the default where it is installed, or "torch".
        listener: hears what is doubtful.
        settings: fields of ``EvaluateSettings``, such as ``channels=16``, ``depth=8``, ``stem="cifar-half"``.

    Raises:
        ValueError: if the space, a size or the runtime is unknown or out of its bounds.
        ImportError: if the runtime is not installed.
    """
    chosen = space if isinstance(space, SearchSpace) else lookup("space", space, SPACES)
    colors, height, width = picture
    sized = SizedSpace(
        space=chosen,
        picture=(COLORS.check("colors", colors), SIDE.check("side", height), SIDE.check("side", width)),
        classes=CLASSES.check("classes", classes),
        size=usual_size(
            chosen, merge_settings(EvaluateSettings, recipe_named(recipe or "published").evaluate, settings)
        ),
    )
    return timed(sized, runtime=runtime, warn=(listener or Silent()).warn)
