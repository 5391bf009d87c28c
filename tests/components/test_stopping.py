import pytest

from diffnas.components.stopping import all_decided, small_enough
from diffnas.space import nas_bench_201

OPEN, DECIDED = {"keep": [[True, True], [False, True]]}, {"keep": [[True, False], [False, True]]}


@pytest.mark.parametrize(
    ("history", "stops"), [([], False), ([OPEN], False), ([OPEN, DECIDED], True), ([DECIDED, OPEN], False)]
)
def test_a_search_stops_once_its_last_epoch_left_every_edge_decided(history, stops: bool):
    assert (all_decided(history, nas_bench_201) is not None) == stops


@pytest.mark.parametrize(
    ("sizes", "stops"), [([], False), ([101], False), ([100], True), ([None], False), ([50, 101], False)]
)
def test_a_search_stops_once_its_network_is_as_small_as_was_wanted(sizes: list[int | None], stops: bool):
    history = [{"found_parameters": size} for size in sizes]
    assert (small_enough(history, nas_bench_201, parameters=100) is not None) == stops
