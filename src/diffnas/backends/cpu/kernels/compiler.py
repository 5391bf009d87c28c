"""Compiling kernels at their first call on a machine, each function once, and keeping the result.

Numba compiles every function by itself, with a copy of all functions that it calls. So a function at the end of a chain
of calls is optimized once for each function in the chain. Here an *entry*, which Python calls, and its *parts*, all
functions that it calls, are one module, like a file for a C compiler. LLVM compiles each once, and decides what to
inline.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from numba import njit, types
from numba.core import compiler
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate
from numba.core.typing.templates import signature as _signature
from numba.extending import typeof_impl

_HERE = Path(__file__).parent
SOURCES = sha256(
    b"".join(path.read_bytes() for path in sorted([*_HERE.glob("*.py"), _HERE.parents[2] / "nets" / "geometry.py"]))
).digest()
"""A hash of the source text of all compiled functions."""

# "contract" allows a fused multiply-add, but does not change the order of a sum.
_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}

# Functions of Numba that come without types.
_compile: Any = compiler.compile_extra
_flags: Any = compiler.Flags
_read_options: Any = cpu_target.options.parse_as_flags
_call: Any = _signature

Function = TypeVar("Function", bound=Callable[..., Any])


def part(function: Function) -> Function:
    """A function that entries and other parts may call. If Python calls it, it runs as plain Python."""
    return cast(Function, _Part(function))


def compiled(function: Function) -> Function:
    """An entry. It is compiled when Python calls it first, and kept for other processes if a cache can be written."""
    return cast(Function, _Entry(function))


class _Part:
    """A function that compiled code may call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.__doc__ = function, function.__doc__
        calls = {"key": self, "generic": _typed, "get_impl_key": _emitted}
        self.type = types.Function(type(function.__name__, (AbstractTemplate,), calls))

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class _Entry(_Part):
    """A function that Python may call, too."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.dispatcher = _dispatcher(function)

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)


def _dispatcher(function: Callable[..., Any]) -> Any:
    """Numba's dispatcher for an entry, which compiles, keeps and calls it."""
    try:
        made = njit(cache=True, pipeline_class=_Module, **_OPTIONS)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return njit(pipeline_class=_Module, **_OPTIONS)(function)
    # Numba's cache depends only on the function's own file, but it holds the code of all functions that are called.
    kept = made._cache._cache_file
    kept._source_stamp = kept._source_stamp, SOURCES
    return made


class _Made(NamedTuple):
    """An entry that is being compiled.

    Attributes:
        library: its module.
        parts: the parts that were compiled into the module, by function and types of arguments.
    """

    library: Any
    parts: dict[tuple[_Part, Any], Any]


_making: list[_Made] = []  # the last one is being compiled; Numba compiles one at a time, whatever the thread


class _Module(compiler.Compiler):
    """Numba's compiler for an entry; the parts that the entry calls are compiled into the entry's own module."""

    def compile_extra(self, function: Any) -> Any:
        library = self.state.targetctx.codegen().create_library(function.__qualname__)
        library.enable_object_caching()
        # The compiler's state hands its library to every pass.
        self.state["library"] = library
        _making.append(_Made(library, {}))
        try:
            with _uncollected():
                return super().compile_extra(function)  # type: ignore[no-untyped-call]
        finally:
            _making.pop()


@contextmanager
def _uncollected() -> Iterator[None]:
    """A context without garbage collection, which would look through all objects of the compiler again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _added(function: _Part, arguments: Any) -> Any:
    """The compiled part, after it was added to the module of the entry that is being compiled."""
    library, parts = _making[-1]
    if (function, arguments) not in parts:
        flags = _flags()
        unwrapped = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        _read_options(flags, {**_OPTIONS, **unwrapped, "nopython": True})
        flags.no_compile = True  # the module is compiled after all parts were added
        context = cpu_target.target_context
        made = _compile(
            cpu_target.typing_context, context, function.function, arguments, None, flags, {}, library=library
        )
        # LLVM may drop a function that it has inlined everywhere.
        library.get_function(made.fndesc.llvm_func_name).linkage = "linkonce_odr"
        context.insert_user_function(made.fndesc, made.fndesc)
        parts[function, arguments] = made
    return parts[function, arguments]


def _typed(template: Any, arguments: Any, keywords: Any) -> Any:
    """The types of a call, for Numba."""
    assert not keywords
    return _call(_added(template.key, arguments).signature.return_type, *arguments)


def _emitted(template: Any, types_of_call: Any) -> Any:
    """The descriptor by which Numba finds the code of a call."""
    return _added(template.key, types_of_call.args).fndesc


@typeof_impl.register(_Part)
def _type_of(function: _Part, context: Any) -> Any:
    return function.type
