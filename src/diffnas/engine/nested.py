"""Functions of nested state, as checkpoints hold it."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def all_finite(state: Any) -> bool:
    """Whether every number of a nested state is finite."""
    return not_finite(state) is None


def not_finite(state: Any, name: str = "") -> str | None:
    """The name of the first tensor of a nested state that is not finite; None if all are.

    >>> from torch import tensor
    >>> not_finite({"weights": {"a": tensor(1.0)}, "optimizer": [tensor(0.0), tensor(float("inf"))]})
    'optimizer.1'
    """
    if isinstance(state, Tensor):
        return None if state.isfinite().all() else name
    parts = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    names = (not_finite(part, f"{name}.{key}".lstrip(".")) for key, part in parts)
    return next((found for found in names if found is not None), None)


def to_cpu(state: Any) -> Any:
    """A nested state with every tensor on the CPU, so that a checkpoint can be read on any machine."""
    if isinstance(state, Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {name: to_cpu(part) for name, part in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_cpu(part) for part in state)
    return state
