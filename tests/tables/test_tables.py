import bz2
import json
import os
import pickle
import subprocess
import sys
import time
from bz2 import BZ2File

import numpy as np
import pytest

import diffnas.tables
from diffnas.cli import main
from diffnas.genotype import canonical, parse
from diffnas.tables import Table

CONV, SKIP, NONE, POOL = (f"|{op}~0|" for op in ("nor_conv_3x3", "skip_connect", "none", "avg_pool_3x3"))
CSV = f'epochs,cell,test,valid,note\n200,{CONV},90,80,a\n200,{SKIP},50.5,60,b\n200,"{POOL}",70,,c\n'


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(CSV)
    return path


def test_a_csv_file_gives_its_columns_of_accuracies_and_leaves_out_the_rest(path):
    table = diffnas.tables.load(path)
    assert table.cells == (CONV, SKIP, POOL)
    assert list(table.columns) == ["test", "valid"]
    entry = table.lookup(parse(POOL), "test")
    assert (entry.accuracy, entry.rank, entry.of, entry.best_cell, entry.regret) == (70, 2, 3, CONV, 20)


def test_a_cell_that_was_not_measured_is_not_ranked(path):
    table = diffnas.tables.load(path)
    assert table.lookup(parse(SKIP), "valid").of == 2
    with pytest.raises(ValueError, match=r"no valid of \|avg_pool_3x3~0\|. It holds 2 cells"):
        table.lookup(parse(POOL), "valid")


def test_cells_that_tie_share_their_rank_and_the_next_one_is_left_out():
    table = Table(cells=(CONV, SKIP, POOL, NONE), columns={"test": np.array([90.0, 90.0, 50.0, 10.0])})
    assert [table.lookup(parse(cell)).rank for cell in table.cells] == [1, 1, 3, 4]


def test_equivalents_are_listed_best_first_and_without_the_cell_itself():
    cells = ("|none~0|+|none~0|none~1|", "|skip_connect~0|+|none~0|none~1|", "|nor_conv_3x3~0|+|none~0|none~1|")
    table = Table(cells=(*cells, "|none~0|+|skip_connect~0|none~1|"), columns={"test": np.array([9.0, 10, 11, 50])})
    assert [twin.accuracy for twin in table.lookup(parse(cells[1])).twins] == [11, 9]
    assert table.lookup(parse("|none~0|+|skip_connect~0|")).twins == ()


def test_a_table_comes_back_from_its_file_as_it_was(path, tmp_path):
    table = diffnas.tables.load(path)
    diffnas.tables.save(table, tmp_path / "new" / "table.npz")
    loaded = diffnas.tables.load(tmp_path / "new" / "table.npz")
    assert loaded.cells == table.cells
    for name, values in table.columns.items():
        np.testing.assert_array_equal(loaded.columns[name], values)
    np.testing.assert_array_equal(loaded.classes, table.classes)
    assert os.listdir(tmp_path / "new") == ["table.npz"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV file with a header"),
        ("cell,test\n", "no column holds architecture strings"),
        ("cell,test\nresnet,90\n", "no column holds architecture strings"),
        (f"cell,flops\n{CONV},1e6\n", "no column holds accuracies"),
        (f"cell,test\n{CONV},90,1\n", "row 2 has 3 fields, the header 2"),
        (f"cell,test\n{CONV},90\n{CONV},91\n", "1 rows repeat a cell; keep one row"),
        ("cell,test\n|none~0|+|none~1|,90\n", "not a cell with every edge written out"),
    ],
)
def test_a_csv_file_that_is_no_table_is_refused_with_what_is_wrong(text, message, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        diffnas.tables.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "foreign", "pickled"])
def test_a_npz_file_that_is_no_table_is_refused(damage, path, tmp_path):
    saved = tmp_path / "table.npz"
    diffnas.tables.save(diffnas.tables.load(path), saved)
    if damage == "cut":
        saved.write_bytes(saved.read_bytes()[:200])
    elif damage == "foreign":
        np.savez(saved, x=np.zeros(3))
    else:
        np.savez(saved, schema=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"table\.npz: "):
        diffnas.tables.load(saved)


def test_columns_and_files_are_asked_for_by_name(path):
    table = diffnas.tables.load(path)
    with pytest.raises(ValueError, match=r"say which column: test, valid\."):
        table.lookup(parse(CONV))
    with pytest.raises(ValueError, match="Did you mean 'valid'"):
        table.lookup(parse(CONV), "vaild")
    with pytest.raises(FileNotFoundError, match="no table"):
        diffnas.tables.load(path.with_name("nowhere.csv"))
    with pytest.raises(ValueError, match=r"saved as \.npz"):
        diffnas.tables.save(table, path)


def trial(nats, data, seed, accuracies):
    """A training of NATS-Bench's: its accuracies on splits at every epoch."""
    result = nats.ResultsCount(data, None, {}, {}, 0.1, 10.0, {}, seed, 2, None)
    evaluations = {f"{split}@{epoch}": value - 1 + epoch for split, value in accuracies.items() for epoch in range(2)}
    result.update_eval(evaluations, evaluations, dict.fromkeys(evaluations, np.float64(1.0)))
    return result


@pytest.fixture
def official(tmp_path):
    """A folder of two cells, written by NATS-Bench's own code."""
    nats = pytest.importorskip("nats_bench.api_utils")
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    for index, (cell, base) in enumerate([(CONV, 90.0), (SKIP, 50.0)]):
        schedules = {}
        for epochs, less in (("12", 10), ("200", 0)):
            results = nats.ArchResults(index, cell)
            for seed, luck in ((777, 0.0), (888, 1.0)):
                results.update("cifar10", seed, trial(nats, "cifar10", seed, {"ori-test": base - less + luck}))
            splits = {"x-valid": base - 20 - less, "x-test": base - 21 - less, "ori-test": base - 22 - less}
            results.update("cifar100", 777, trial(nats, "cifar100", 777, splits))
            schedules[epochs] = results.state_dict()
        nats.pickle_save(schedules, folder / f"{index:06d}.pickle")
    nats.pickle_save({"meta_archs": [CONV, SKIP, POOL], "evaluated_indexes": {0, 1}}, folder / "meta.pickle")
    return folder


def test_the_files_of_nats_bench_give_averages_over_seeds_at_the_last_epoch(official):
    table = diffnas.tables.load(official)
    assert table.cells == (CONV, SKIP)
    expected = {"cifar10_test_200": 90.5, "cifar100_valid_200": 70, "cifar100_test_200": 69}
    expected |= {"cifar10_test_12": 80.5, "cifar100_valid_12": 60, "cifar100_test_12": 59}
    assert {name: values[0] for name, values in table.columns.items()} == expected


def test_the_files_are_converted_once_by_the_command(official, tmp_path, capsys):
    saved = tmp_path / "nats.npz"
    assert main(["lookup", "--table", str(official), "--save", str(saved)]) == 0
    assert main(["lookup", SKIP, "--table", str(saved), "--column", "cifar10_test_200", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["cells"]
    assert (found["accuracy"], found["rank"], found["regret"]) == (50.5, 2, 40)


def test_the_one_big_file_says_the_same_as_the_folder(official, tmp_path):
    nats = pytest.importorskip("nats_bench.api_utils")
    infos = {index: nats.pickle_load(official / f"{index:06d}.pickle.pbz2") for index in (0, 1)}
    whole = {"meta_archs": [CONV, SKIP, POOL], "arch2infos": infos, "evaluated_indexes": {0, 1}}
    nats.pickle_save(whole, tmp_path / "NATS-tss.pickle")
    one, other = diffnas.tables.load(official), diffnas.tables.load(tmp_path / "NATS-tss.pickle.pbz2")
    assert one.cells == other.cells
    for name, values in one.columns.items():
        np.testing.assert_array_equal(other.columns[name], values)


def test_a_file_that_asks_for_anything_to_be_run_is_refused(official, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    with BZ2File(official / "000001.pickle.pbz2", "wb") as file:
        pickle.dump({"200": Evil()}, file)
    with pytest.raises(ValueError, match=r"000001\.pickle\.pbz2 is refused: it asks for posix\.mkdir"):
        diffnas.tables.load(official)
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    pytest.importorskip("nats_bench")
    with pytest.raises(ValueError, match=r"it has no meta\.pickle\.pbz2"):
        diffnas.tables.load(tmp_path)


def test_the_command_shows_accuracy_rank_and_regret(path, capsys):
    assert main(["lookup", SKIP, CONV, "--table", str(path), "--column", "test"]) == 0
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines() if line.strip().startswith("test")]
    assert rows == [
        ["test", "50.50", "3", "3", "90.00", "39.50", "none"],
        ["test", "90.00", "1", "3", "90.00", "0.00", "none"],
    ]


def test_the_command_says_what_it_needs(path, capsys):
    assert main(["lookup", "--table", str(path)]) == 2
    assert "GENOTYPE" in capsys.readouterr().err
    assert main(["lookup", "DARTS_V2", "--table", str(path), "--column", "test"]) == 2
    assert "'nas-bench-201' genotype" in capsys.readouterr().err


def test_a_lookup_needs_no_torch(path):
    code = "import sys; from diffnas.cli import main; assert main(sys.argv[1:]) == 0; sys.exit('torch' in sys.modules)"
    words = ["lookup", SKIP, "--table", str(path)]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_cell_of_a_thousand_plus_signs_is_refused_at_once(tmp_path):
    path = tmp_path / "plus.csv"
    path.write_text(f"cell,test\n|none~0|{'+' * 3000},90\n")
    started = time.perf_counter()
    with pytest.raises(ValueError, match="not a cell with every edge written out"):
        diffnas.tables.load(path)
    assert time.perf_counter() - started < 1


def test_a_cell_whose_canonical_string_would_fill_the_memory_is_refused():
    nodes = 40
    cell = "+".join("|" + "|".join(f"skip_connect~{s}" for s in range(t)) + "|" for t in range(1, nodes))
    with pytest.raises(ValueError, match="only cells of at most 12"):
        canonical(parse(cell))
    with pytest.raises(ValueError, match="not a cell with every edge"):
        Table(cells=(cell,), columns={"test": np.array([1.0])})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"values": np.zeros((1, 2))}, "do not fit its cells and columns"),
        ({"values": np.full((2, 3), 101.0)}, "does not hold accuracies"),
        ({"values": np.array([["x"] * 3] * 2)}, "its values are <U1"),
        ({"groups": np.zeros((3, 3), np.int32)}, "do not fit"),
    ],
)
def test_a_saved_table_whose_parts_do_not_fit_is_refused(changed, message, path, tmp_path):
    saved = tmp_path / "table.npz"
    diffnas.tables.save(diffnas.tables.load(path), saved)
    with np.load(saved) as file:
        arrays = {name: file[name] for name in file}
    np.savez(saved, **{**arrays, **changed})
    with pytest.raises(ValueError, match=message):
        diffnas.tables.load(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(256 * 1024**2), "has more than .* bytes"),
        (b"}" * 3_000_000 + b".", "more than 2,.* instructions"),
        (b"\x80\x02}(K\x00K\x00\x86" + b"q\x01h\x01\x86" * 40 + b"K\x01u.", "a key that is neither"),
        (b"}r\xff\xff\xff\x7f.", "lists no cells"),
    ],
    ids=["zeros", "instructions", "hash", "far"],
)
def test_a_small_file_of_nats_bench_cannot_take_time_or_memory(content, message, tmp_path):
    pytest.importorskip("nats_bench")
    path = tmp_path / "NATS-tss.pickle.pbz2"
    path.write_bytes(bz2.compress(content, compresslevel=9))
    started = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        diffnas.tables.load(path)
    assert time.perf_counter() - started < 10


def test_a_trial_that_names_a_file_is_refused_for_nats_bench_would_run_it(official):
    nats = pytest.importorskip("nats_bench.api_utils")
    state = nats.pickle_load(official / "000001.pickle.pbz2")
    state["200"]["all_results"]["cifar10", 777] = str(official / "other.pickle")
    nats.pickle_save(state, official / "000001.pickle")
    with pytest.raises(ValueError, match=r"what it says of \|skip_connect~0\| is damaged \(ValueError\)"):
        diffnas.tables.load(official)
