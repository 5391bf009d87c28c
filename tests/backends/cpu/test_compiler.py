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


def both(x, y):
    return fourth(x) + square(y)


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))


def count(monkeypatch, owner, name):
    calls, function = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments, **named: (calls.append(0), function(*arguments, **named))[1])
    return calls


def test_each_function_is_compiled_once_and_all_as_one_module(monkeypatch, tmp_path):
    compiled(both)(1, 1)  # what Numba needs itself is there now
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "another"))
    parts, modules = count(monkeypatch, compiler, "_compile"), count(monkeypatch, JITCodeLibrary, "finalize")
    assert compiled(both)(2, 3) == 25
    assert len(parts) == 2
    assert len(modules) == 1


def test_the_next_process_compiles_nothing(monkeypatch):
    compiled(both)(1, 1)
    parts = count(monkeypatch, compiler, "_compile")
    assert compiled(both)(2, 3) == 25
    assert not parts


def test_numbers_of_another_type_get_code_of_their_own():
    function = compiled(both)
    assert function(2, 3) == 25
    assert function(0.5, 0.5) == 0.3125


def test_python_runs_a_part_as_it_stands(monkeypatch):
    parts = count(monkeypatch, compiler, "_compile")
    assert fourth(3) == 81
    assert not parts


def test_a_machine_without_a_place_for_a_cache_compiles_all_the_same(monkeypatch):
    def njit(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba_njit(**options)

    numba_njit = compiler.njit
    monkeypatch.setattr(compiler, "njit", njit)
    assert compiled(both)(2, 3) == 25


def test_what_is_kept_of_compiled_code_is_that_of_all_its_files():
    assert compiler.SOURCES in interpreter.run.dispatcher._cache._cache_file._source_stamp
