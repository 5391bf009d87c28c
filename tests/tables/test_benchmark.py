"""The whole of NAS-Bench-201, looked up."""

import time

import pytest

import diffnas.tables
from diffnas.genotype import parse

OPTIMUM = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


def everywhere(op: str) -> str:
    return f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|"


@pytest.mark.parametrize(
    ("cell", "accuracy", "rank"),
    [
        (OPTIMUM, 94.37, 1),
        (everywhere("skip_connect"), 54.30, None),
        (everywhere("nor_conv_3x3"), 93.76, None),
        (everywhere("none"), 10.00, None),
    ],
)
def test_cells_that_every_paper_quotes_have_the_quoted_accuracy(benchmark, cell, accuracy, rank):
    entry = benchmark.lookup(parse(cell))
    assert round(entry.accuracy, 2) == accuracy
    assert rank in (None, entry.rank)
    assert entry.of == 15_625


def test_the_ranks_of_all_cells_are_those_of_sorting_them(benchmark):
    started = time.perf_counter()
    entries = [benchmark.lookup(parse(cell)) for cell in benchmark.cells]
    # About a second on one core that is not shared.
    assert time.perf_counter() - started < 30
    by_accuracy = sorted(entries, key=lambda entry: -entry.accuracy)
    rank = 0
    for place, entry in enumerate(by_accuracy, start=1):
        if place == 1 or entry.accuracy < by_accuracy[place - 2].accuracy:
            rank = place
        assert entry.rank == rank
    assert min(entry.regret for entry in entries) == 0


def test_equivalent_cells_are_those_of_the_benchmarks_own_rule(benchmark):
    assert len(set(benchmark.classes.tolist())) == 6_466
    skips = benchmark.lookup(parse("|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"))
    # Trained apart, they differ by their luck only: tenths of a point.
    assert skips.twins
    assert all(abs(twin.accuracy - skips.accuracy) < 1.5 for twin in skips.twins)


def test_a_saved_table_is_small_loads_at_once_and_says_the_same(benchmark, tmp_path):
    path = tmp_path / "table.npz"
    diffnas.tables.save(benchmark, path)
    assert path.stat().st_size < 250_000
    started = time.perf_counter()
    loaded = diffnas.tables.load(path)
    assert time.perf_counter() - started < 2  # about 0.03
    for cell in benchmark.cells[::97]:
        assert loaded.lookup(parse(cell)) == benchmark.lookup(parse(cell))
