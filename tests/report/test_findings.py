"""What a report says about collapse."""

import pytest

from diffnas.report.findings import findings
from diffnas.report.reading import read_run

CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SKIPS = "|skip_connect~0|+|skip_connect~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SHALLOW = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
POOLS = "|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|"
EVEN = [[0.2] * 5] * 6
DECIDED = [[0, 0, 0, 1, 0]] * 6  # nor_conv_3x3
NONE = [[0.6, 0.1, 0.1, 0.1, 0.1]] * 6
HALF_NONE = [[0.4, 0.15, 0.15, 0.15, 0.15]] * 6


@pytest.mark.parametrize(
    ("cell", "mix", "name", "mark", "words"),
    [
        (CONV, DECIDED, "Skip connections", "fine", "0 of 6 connections are skips"),
        (SKIPS, DECIDED, "Skip connections", "bad", "3 of 6 connections are skips, as in DARTS"),
        (CONV, DECIDED, "Depth", "fine", "3 in the normal cell. At most 3 would fit"),
        (SHALLOW, DECIDED, "Depth", "look", "1 in the normal cell"),
        (POOLS, DECIDED, "Depth", "bad", "No path"),
        (POOLS, DECIDED, "Broken cells", "bad", "nothing in it can learn"),
        (CONV, EVEN, "Weight of none", "fine", "holds 20% of an edge’s weight, on average; an even share is 20%"),
        (CONV, HALF_NONE, "Weight of none", "look", "holds 40%"),
        (CONV, NONE, "Weight of none", "bad", "switches the cell off"),
        (CONV, EVEN, "Operations mixed", "look", "still mixes 5.0 of 5 operations"),
        (CONV, DECIDED, "Operations mixed", "fine", "Nearly everything is decided"),
        (CONV, EVEN, "Weight thrown away", "look", "80% of an edge’s weight"),
        (CONV, DECIDED, "Weight thrown away", "fine", "0% of an edge’s weight"),
        (SHALLOW, NONE, "Weight thrown away", "fine", "48% of an edge’s weight"),
    ],
)
def test_a_sign_is_told_in_words(cell, mix, name, mark, words, write_search):
    run = read_run(write_search([(cell, mix)] * 2))
    found = {finding.name: finding for finding in findings(run.search)}
    assert (found[name].mark, words in found[name].text) == (mark, True), found[name]


def test_a_sound_cell_is_not_called_broken(write_search):
    run = read_run(write_search([(CONV, DECIDED)]))
    assert "Broken cells" not in {finding.name for finding in findings(run.search)}


@pytest.mark.parametrize(
    ("cells", "mark", "words"),
    [([SKIPS, CONV, CONV, CONV], "fine", "after epoch 2 of 4"), ([CONV, CONV, CONV, SKIPS], "look", "still changed")],
)
def test_when_the_cells_last_changed(cells, mark, words, write_search):
    run = read_run(write_search([(cell, EVEN) for cell in cells]))
    (found,) = (finding for finding in findings(run.search) if finding.name == "Last change")
    assert (found.mark, words in found.text) == (mark, True)


def test_an_eigenvalue_is_told_of_when_the_trace_has_one(write_search):
    run = read_run(write_search([(CONV, EVEN)] * 6, indicators={"eigenvalue": 0.5}))
    (found,) = (finding for finding in findings(run.search) if finding.name == "Eigenvalue")
    assert found.mark == "fine"
    assert "did not rise" in found.text


def test_before_the_first_epoch_there_is_nothing_to_say(write_search):
    assert findings(read_run(write_search([], planned=3, finished=False)).search) == []
