"""Sequences of vectors: tables, folders of tables, and arrays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffnas.data import from_sequences, load


def test_a_table_becomes_a_stream_of_standardized_rows(tmp_path: Path):
    rows = [f"{k % 7},{k}" for k in range(100)]
    (tmp_path / "table.csv").write_text("\n".join(["phase,time", *rows]))
    data = load(tmp_path / "table.csv")
    assert (data.classes, data.kind) == (("phase", "time"), "forecast")
    assert [len(each) for each in (data.train, data.valid, data.test)] == [90, 5, 5]
    torch.testing.assert_close(data.train.steps.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.train.steps.std(0, correction=0), torch.ones(2))
    assert "naive forecast" in data.remarks[0]


def labelled(folder: Path, lengths: dict[str, list[int]]) -> Path:
    for name, counts in lengths.items():
        (folder / name).mkdir()
        for number, count in enumerate(counts):
            (folder / name / f"{number}.csv").write_text("\n".join(f"{k},{number}" for k in range(count)))
    return folder


def test_class_folders_of_tables_are_padded_with_what_a_network_masks(tmp_path: Path):
    data = load(labelled(tmp_path, {"down": [3, 4, 5, 6, 7], "up": [2, 2, 2, 2, 9]}))
    assert (data.classes, data.kind, data.channels) == (("down", "up"), "labelled", 2)
    assert (len(data.train), len(data.test)) == (8, 2)
    found = sorted(
        [*(~data.train.steps[:, :, 0].isnan()).sum(1).tolist(), *(~data.test.steps[:, :, 0].isnan()).sum(1).tolist()]
    )
    assert found == [2, 2, 2, 2, 3, 4, 5, 6, 7, 9]


def test_arrays_and_lists_of_arrays_are_sequences():
    long, short = np.ones((3, 5, 2)), [np.zeros((k, 2)) for k in (1, 4)]
    data = from_sequences((long, [0, 1, 1]), (short, [0, 1]), classes=("a", "b"))
    assert data.train.steps.shape == (3, 5, 2)
    assert data.test.steps.shape == (2, 4, 2)


BAD_TABLES = {
    "a missing value": ("a,b\n1,2\n3,\n", "line 3, column b: a value is missing"),
    "a word": ("a,b\n1,2\n3,x\n", "line 3, column b: the value 'x' is no number"),
    "not a number": ("a,b\n1,nan\n", "line 2, column b"),
    "a short row": ("1,2\n3\n", "line 2: there are 1 values, and 2 in the first line"),
    "nothing": ("", "is empty"),
    "names only": ("a,b\n", "no row of numbers"),
    "few rows": ("1\n2\n3\n", "has 3 rows"),
}


@pytest.mark.parametrize(("content", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_gets_one_line_with_the_place(tmp_path: Path, content, message):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path / "table.csv")
    assert "\n" not in str(error.value)


def test_tables_of_different_widths_are_refused(tmp_path: Path):
    labelled(tmp_path, {"a": [3, 3], "b": [3, 3]})
    (tmp_path / "b" / "0.csv").write_text("1\n2\n")
    with pytest.raises(ValueError, match=r"0\.csv has 1 columns, and .* has 2"):
        load(tmp_path)


def test_a_missing_number_of_an_array_is_refused_with_its_place():
    bad = np.zeros((2, 3, 2))
    bad[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match="training sequence 1 has nan in step 2, number 0"):
        from_sequences((bad, [0, 1]), (bad, [0, 1]))


def test_each_sequence_needs_a_label():
    good = np.zeros((2, 3, 2))
    with pytest.raises(ValueError, match="2 training sequences and labels"):
        from_sequences((good, [0]), (good, [0, 1]))
