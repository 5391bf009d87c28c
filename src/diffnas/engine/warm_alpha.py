"""Alpha from an earlier search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diffnas.components import update
from diffnas.engine.settings import SearchSettings
from diffnas.run_folder import RunFolder

if TYPE_CHECKING:
    from diffnas.engine.search_state import SearchState


def take_(state: SearchState, settings: SearchSettings) -> str:
    """Begin a search with the last alpha of another one, shrunk, and with its operations if the settings say so.

    Returns:
        What was taken, in a sentence.

    Raises:
        ValueError: if the other run has no alpha, or that of other edges or operations.
    """
    place = str(settings.alpha_from)
    line = _last_line(Path(place))
    alpha, keep = torch.tensor(line["alpha"]), torch.tensor(line["keep"], dtype=torch.bool)
    if alpha.shape != state.alpha.shape or not bool(alpha.isfinite().all()):
        raise ValueError(
            f"alpha of {place} is for {tuple(alpha.shape)} edges and operations, and this search has "
            f"{tuple(state.alpha.shape)}. Name a run of the same space, or leave --alpha-from out."
        )
    with torch.no_grad():
        state.alpha.copy_(settings.alpha_shrink * alpha.to(state.alpha))
    keep = keep.to(state.keep.device)
    gone = int((state.keep & ~keep).sum())
    if settings.alpha_keep and gone:
        state.prune_(keep)
    update.forget(state.alpha_optimizer, state.alpha, ~state.movable)
    said = f"alpha comes from epoch {line['epoch'] + 1} of {place}, times {settings.alpha_shrink:g}"
    if not gone:
        return f"{said}."
    if settings.alpha_keep:
        return f"{said}; {gone} operations that were removed there are left out here too."
    return (
        f"{said}; {gone} operations that were removed there are in play again, and new beside trained ones. Give them "
        "time with --alpha-warmup, or leave them out with --alpha-keep."
    )


def _last_line(place: Path) -> dict[str, Any]:
    """The last line of a search's trace; a ValueError if there is none with an alpha."""
    lines = RunFolder.open(place).trace()
    if not lines or not {"alpha", "keep"} <= lines[-1].keys():
        raise ValueError(f"{place} has no epoch with an alpha. Name the folder of a search that has begun.")
    return lines[-1]
