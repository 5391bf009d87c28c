import pytest

from diffnas.sweeps.grid import cells, texts


def test_the_seed_varies_fastest_and_each_cell_has_a_value_of_every_axis():
    made = cells({"seed": [0, 1], "method": ["sparse", "darts"], "space": ["chain"]})
    assert list(made) == ["sparse-seed0", "sparse-seed1", "darts-seed0", "darts-seed1"]
    assert made["darts-seed1"] == {"seed": 1, "method": "darts", "space": "chain"}


def test_a_name_tells_what_varies_and_numbers_tell_of_what_they_are():
    made = cells({"method": ["darts"], "search.lr": [0.1, 0.2], "flip": [True, False], "data": ["a/cats", "b/cats"]})
    first, second, *rest = made
    assert first == "darts-lr0.1-flipTrue-cats"
    # Two folders of the same name are told apart by a number.
    assert second == "darts-lr0.1-flipTrue-cats-2"
    assert len(rest) == 6


@pytest.mark.parametrize("value", ["../../etc", "..", "a b;rm -rf", "", "\u202e", "x" * 300])
def test_the_name_of_a_run_is_that_of_a_folder_whatever_the_values_are(value):
    (name,) = cells({"weighting": [value]})
    (second, third) = cells({"weighting": [value, "other"]})
    for each in (name, second, third):
        assert each.strip(".-") == each
        assert 0 < len(each) <= 110
        assert "/" not in each
        assert each.isascii()


def test_a_cell_that_would_be_run_twice_and_a_grid_without_end_are_refused():
    with pytest.raises(ValueError, match="seed has '3' twice"):
        cells({"seed": [3, 4, 3]})
    with pytest.raises(ValueError, match="list is empty"):
        cells({"method": []})
    with pytest.raises(ValueError, match="from 1 to 10,000, got 1000000"):
        cells({"seed": range(1000), "epochs": range(1, 1001)})


def test_texts_are_lists_and_ranges_only_where_they_can_be():
    assert texts("seeds", "0:3,9", whole_numbers=True, commas=True) == ["0", "1", "2", "9"]
    assert texts("weighting", "entmax:2, softmax", whole_numbers=False, commas=True) == ["entmax:2", "softmax"]
    assert texts("target", "macs=2M,params<=1M", whole_numbers=False, commas=False) == ["macs=2M,params<=1M"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("5:5", "is empty"), ("0,,1", "empty value"), ("0:999999999", "from 1 to 10,000"), ("", "empty value")],
)
def test_a_list_that_cannot_be_read_is_refused_with_the_option(text, words):
    with pytest.raises(ValueError, match=words) as error:
        texts("seeds", text, whole_numbers=True, commas=True)
    assert "--seeds" in str(error.value)
