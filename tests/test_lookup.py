import pytest

from diffnas.lookup import lookup


def test_a_known_name_gives_its_entry():
    assert lookup("weighting", "sigmoid", {"softmax": 0, "sigmoid": 1}) == 1


def test_a_misspelt_name_gets_a_suggestion_and_the_list():
    with pytest.raises(ValueError) as error:
        lookup("weighting", "sofmax", {"softmax": 0, "sigmoid": 1})
    assert str(error.value) == "unknown weighting 'sofmax'. Did you mean 'softmax'? Known: sigmoid, softmax."


def test_a_name_like_no_other_gets_the_list_alone():
    with pytest.raises(ValueError) as error:
        lookup("weighting", "xyz", {"softmax": 0, "sigmoid": 1})
    assert str(error.value) == "unknown weighting 'xyz'. Known: sigmoid, softmax."


@pytest.mark.parametrize("name", [3, None, ["one"], 1.5])
def test_a_value_that_is_no_text_finds_no_entry(name):
    with pytest.raises(ValueError, match=r"unknown number .*\. Known: one, two\.$"):
        lookup("number", name, {"one": 1, "two": 2})
