"""Functions of nested state, as checkpoints hold it."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def all_finite(state: Any) -> bool:
    """Whether every number of a nested state is finite."""
    if isinstance(state, Tensor):
        return bool(state.isfinite().all())
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return all(all_finite(part) for part in parts)


def to_cpu(state: Any) -> Any:
    """A nested state with every tensor on the CPU, so that a checkpoint can be read on any machine."""
    if isinstance(state, Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {name: to_cpu(part) for name, part in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_cpu(part) for part in state)
    return state
