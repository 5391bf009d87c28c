"""Values from outside are of their declared kind, or refused in one line."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
import torch

from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.values import Number, check_fields, checked, kinds, read, real, whole

NO_NUMBERS = (None, True, "3", [3], 3j, math.nan, math.inf, -math.inf, 1e400, 10**400, -(10**400), torch.tensor(3))


@pytest.mark.parametrize("given", [*NO_NUMBERS, 1.5, 3.0, -1, 0, 11], ids=repr)
def test_a_whole_number_is_refused_with_its_name_its_bounds_and_what_was_given(given):
    with pytest.raises(ValueError, match=r"epochs must be a whole number from 1 to 10, got .+\.$"):
        whole(1, 10).check("epochs", given)


@pytest.mark.parametrize("given", [*NO_NUMBERS, 0, 1.0], ids=repr)
def test_a_number_is_refused_with_its_name_its_bounds_and_what_was_given(given):
    with pytest.raises(ValueError, match=r"lr must be a number above 0 and below 1, got .+\.$"):
        real(0, 1, above=True, below=True).check("lr", given)


@pytest.mark.parametrize("given", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_every_library_become_those_of_python(given):
    found = whole(3, 3).check("epochs", given)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize("given", [1, 1.0, np.float32(1), np.int64(1)])
def test_numbers_of_every_library_become_those_of_python(given):
    found = real(1, 1).check("lr", given)
    assert (found, type(found)) == (1.0, float)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (whole(0, 1_000_000), "a whole number from 0 to 1,000,000"),
        (real(0, 2.5), "a number from 0 to 2.5"),
        (real(0, 1, below=True), "a number from 0 to below 1"),
        (real(0, 1, above=True), "a number above 0 and up to 1"),
        (real(0, 1, above=True, below=True), "a number above 0 and below 1"),
    ],
)
def test_bounds_are_told_in_words(number: Number, words: str):
    assert str(number) == words


def test_a_long_value_is_cut_in_the_message():
    for given in ("x" * 10_000, 10**5000, list(range(1000))):
        with pytest.raises(ValueError) as error:
            whole(1, 10).check("epochs", given)
        assert len(str(error.value)) < 150


@dataclass(frozen=True, kw_only=True)
class Record:
    count: Annotated[int, whole(0, 9)] = 0
    rate: Annotated[float, real(0, 1)] | None = None
    kind: Literal["a", "b"] | None = "a"
    one_or_three: Literal[1, 3] = 1
    switch: bool | None = None
    free: object = None

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("field", "wrong", "words"),
    [
        ("count", None, "a whole number from 0 to 9, got None"),
        ("rate", "much", "a number from 0 to 1, got 'much'"),
        ("kind", "c", "'a' or 'b', got 'c'"),
        ("one_or_three", True, "1 or 3, got True"),
        ("one_or_three", 3.0, "1 or 3, got 3.0"),
        ("one_or_three", None, "1 or 3, got None"),
        ("switch", 1, "True or False, got 1"),
    ],
)
def test_each_field_of_a_record_is_checked_against_its_declared_kind(field, wrong, words):
    with pytest.raises(ValueError) as error:
        Record(**{field: wrong})
    assert str(error.value) == f"{field} must be {words}."


def test_a_record_that_is_right_is_left_alone():
    given = {"count": 9, "rate": 0, "kind": None, "one_or_three": 3, "switch": False, "free": math.nan}
    assert vars(Record(**given)) == given


def test_text_is_read_as_its_declared_kind_or_else_left_for_the_check():
    wanted = kinds(Record)
    texts = {"count": "7", "rate": "1e-2", "kind": "b", "switch": "Off", "free": "7"}
    assert {name: read(wanted[name], text) for name, text in texts.items()} == {
        "count": 7,
        "rate": 0.01,
        "kind": "b",
        "switch": False,
        "free": "7",
    }
    assert read(wanted["count"], "1.5") == "1.5"
    assert read(wanted["switch"], "maybe") == "maybe"


@pytest.mark.parametrize("record", [SearchSettings, EvaluateSettings])
def test_every_setting_has_a_declared_kind_and_every_number_finite_bounds(record):
    for name, kind in kinds(record).items():
        for given in (math.inf, -math.inf, math.nan, 10**400, object()):
            with pytest.raises(ValueError, match=f"^{name} must be "):
                checked(name, kind, given)
