"""Entries and their parts."""

from __future__ import annotations

import pytest

pytest.importorskip("numba")

from numba.core import config
from numba.core.codegen import JITCodeLibrary

from diffnas.backends.cpu.kernels import compiler, interpreter
from diffnas.backends.cpu.kernels.compiler import compiled, part


@part
def square(x):
    """A function at the end of two rows of calls."""
    return x * x


@part
def fourth(x):
    return square(square(x))


@compiled
def both(x, y):
    return fourth(x) + square(y)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Nothing that was kept before is found."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    vars(both).pop("dispatcher", None)
    yield tmp_path
    vars(both).pop("dispatcher", None)


def count(monkeypatch, owner, name):
    calls, function = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments, **named: (calls.append(0), function(*arguments, **named))[1])
    return calls


def test_each_function_is_compiled_once_and_all_as_one_module(fresh, monkeypatch):
    assert both(1, 1) == 2  # what Numba needs itself is there now
    vars(both).pop("dispatcher")
    parts, modules = count(monkeypatch, compiler, "_compile"), count(monkeypatch, JITCodeLibrary, "finalize")
    monkeypatch.setattr(config, "CACHE_DIR", str(fresh / "another"))
    assert both(2, 3) == 25
    assert len(parts) == 2
    assert len(modules) == 1


def test_the_next_process_compiles_nothing(fresh, monkeypatch):
    both(1, 1)
    vars(both).pop("dispatcher")  # as in a new process
    parts = count(monkeypatch, compiler, "_compile")
    assert both(2, 3) == 25
    assert not parts


def test_numbers_of_another_type_get_code_of_their_own(fresh):
    assert both(2, 3) == 25
    assert both(0.5, 0.5) == 0.3125


def test_python_runs_a_part_as_it_stands(monkeypatch):
    parts = count(monkeypatch, compiler, "_compile")
    assert fourth(3) == 81
    assert not parts


def test_a_machine_without_a_place_for_a_cache_compiles_all_the_same(fresh, monkeypatch):
    def no_place(function, cache=False, **options):
        if cache:
            raise RuntimeError("no locator available")
        return compiler_njit(**options)(function)

    compiler_njit = compiler.njit
    monkeypatch.setattr(compiler, "njit", lambda **options: lambda function: no_place(function, **options))
    assert both(2, 3) == 25


def test_what_is_kept_of_compiled_code_is_that_of_all_its_files():
    assert compiler.SOURCES in interpreter.run.dispatcher._cache._cache_file._source_stamp
