import pytest

from diffnas.components.stopping import all_decided

OPEN, DECIDED = {"keep": [[True, True], [False, True]]}, {"keep": [[True, False], [False, True]]}


@pytest.mark.parametrize(
    ("history", "stops"), [([], False), ([OPEN], False), ([OPEN, DECIDED], True), ([DECIDED, OPEN], False)]
)
def test_a_search_stops_once_its_last_epoch_left_every_edge_decided(history, stops: bool):
    assert (all_decided(history) is not None) == stops
