"""Other functions in place of some of PyTorch's, for all modules that call them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode


class Replaced(TorchFunctionMode):
    """A context in which calls of some of PyTorch's functions are calls of others.

    A function that takes the place of another one gets its arguments, and may call it: PyTorch leaves the context for
    that time.

    Args:
        by: the other functions, by those that they replace.

    >>> import torch
    >>> with Replaced({torch.relu: lambda x: x}):
    ...     torch.relu(torch.tensor(-1.0))
    tensor(-1.)
    """

    def __init__(self, by: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self.by = by

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.by.get(func, func)(*args, **(kwargs or {}))
