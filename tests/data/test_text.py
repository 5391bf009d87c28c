"""Texts: the embedded ones, a user's files, their tokens, and every bad input with its one line."""

import hashlib
from pathlib import Path

import pytest
import torch

from diffnas.data import Columns, Stream, load, set_aside, subsample
from diffnas.data.text import embedded
from diffnas.data.text.corpus import in_three
from diffnas.data.tokens import UNKNOWN, learned


def test_the_embedded_text_is_the_one_of_its_note():
    parts = embedded.plays()
    found = [(len(part), hashlib.sha256(part.encode()).hexdigest()[:16]) for part in parts]
    assert found == [(920331, "7a4021ef45662d10"), (51125, "6088fc11ab5ad0c1"), (50975, "3134a75c01143731")]
    assert len(set(parts.train)) == len(set("".join(parts))) == 65


def test_the_words_of_the_embedded_text_are_counted_as_in_the_specification():
    data = load("text", tokens="words")
    streams = data.train, data.valid, data.test
    assert [len(each) for each in streams] == [243_310, 13_798, 13_668]
    assert data.channels == len(data.classes) == 6_211
    unknown = data.tokens.vocabulary.index(UNKNOWN)
    rates = [round(100 * float((each.steps == unknown).float().mean()), 1) for each in streams]
    assert rates == [2.3, 3.5, 3.5]


def test_columns_are_contiguous_pieces_and_leave_out_what_fills_no_row():
    columns = Columns.of(torch.arange(20), 3)
    assert columns.window(0, 6).tolist() == [list(range(6)), list(range(6, 12)), list(range(12, 18))]
    assert columns.predicted == 5


def test_windows_predict_each_row_but_the_first_once():
    columns = Columns.of(torch.arange(23), 2)
    windows = columns.windows([4, 4, 2])
    _, targets = Stream(steps=torch.arange(23), channels=23).take(torch.cat(windows, dim=1))
    assert targets.tolist() == [list(range(1, 11)), list(range(12, 22))]


def test_a_file_is_cut_at_line_ends_without_byte_order_mark_and_carriage_returns(tmp_path: Path):
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbf" + b"one two\r\n" * 100)
    data = load(tmp_path / "book.txt")
    assert data.tokens.vocabulary == tuple("\n enotw")
    texts = [data.tokens.decode(part.steps.tolist()) for part in (data.train, data.valid, data.test)]
    assert "".join(texts) == "one two\n" * 100
    assert all(text.endswith("\n") for text in texts)


def test_a_folder_of_texts_is_read_in_the_order_of_its_paths(tmp_path: Path):
    for name, letter in (("b.md", "b"), ("a.txt", "a")):
        (tmp_path / name).write_text(f"{letter}\n" * 60)
    data = load(tmp_path)
    assert data.tokens.decode(data.train.steps.tolist()).startswith("a")
    assert len(data.train) > len(data.valid) > 0


def test_the_treebank_is_cut_at_spaces_with_an_end_for_each_line(tmp_path: Path):
    for part in ("train", "valid", "test"):
        (tmp_path / f"ptb.{part}.txt").write_text(" no it was n't black <unk> \n a N fall \n")
    data = load(tmp_path)
    assert data.tokens.kind == "split"
    assert set(data.tokens.vocabulary) == {"<eos>", "<unk>", "N", "a", "black", "fall", "it", "n't", "no", "was"}
    assert len(data.train) == 11


def test_wikitext_is_read_from_its_own_files(tmp_path: Path):
    for part in ("train", "valid", "test"):
        (tmp_path / f"wiki.{part}.tokens").write_text(" = Title = \n the <unk> is \n")
    assert len(load(tmp_path).test) == 8


def test_the_dictionary_comes_from_the_training_text_only(tmp_path: Path):
    (tmp_path / "train.txt").write_text("the cat the cat sat " * 5)
    (tmp_path / "valid.txt").write_text("the dog the dog")
    (tmp_path / "test.txt").write_text("a cat a cat")
    data = load(tmp_path, tokens="words")
    assert data.tokens.vocabulary == (UNKNOWN, "cat", "the", "sat")
    assert data.test.steps.tolist() == [0, 1, 0, 1]


def test_words_above_the_limit_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("diffnas.data.tokens.MOST_WORDS", 2)
    tokens, left = learned("a a a b b c c d", "words", lower=True)
    assert tokens.vocabulary == (UNKNOWN, "a", "b")
    assert left == 1


def test_words_are_joined_as_they_were_written():
    tokens, _ = learned("to be, or not\nto be. " * 2, "words", lower=True)
    assert tokens.decode(tokens.encode("To be, or not\nto be.").tolist()) == "to be, or not\nto be."


def test_a_text_without_line_ends_is_cut_all_the_same():
    assert [len(part) for part in in_three(["x" * 1000])] == [900, 50, 50]


BAD = {
    "no file": (None, {}, FileNotFoundError, "no file at .*Name a text"),
    "an empty file": (b"", {}, ValueError, "is empty"),
    "a file of spaces": (b" \n ", {}, ValueError, "is empty"),
    "another encoding": (b"caf\xe9 " * 50, {}, ValueError, r"byte 0xe9 at 3 .*--encoding latin-1"),
    "a binary file": (b"ab\0c" * 50, {}, ValueError, "NUL byte at 2"),
    "an unknown encoding": (b"abc" * 50, {"encoding": "utf-9"}, ValueError, "unknown encoding 'utf-9'"),
    "one distinct token": (b"a" * 500, {}, ValueError, "one distinct token"),
    "a text of a line": (b"abc", {}, ValueError, "2 or more are needed"),
    "an option of pictures": (b"abc" * 50, {"size": 8}, ValueError, "size is an option of pictures"),
}


@pytest.mark.parametrize(("content", "options", "kind", "message"), BAD.values(), ids=BAD)
def test_a_bad_text_gets_one_line(tmp_path: Path, content, options, kind, message):
    path = tmp_path / "book.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(kind, match=message) as error:
        load(path, **options)
    assert "\n" not in str(error.value)


def test_a_named_encoding_is_used(tmp_path: Path):
    (tmp_path / "book.txt").write_bytes("café\n".encode("latin-1") * 50)
    assert "é" in load(tmp_path / "book.txt", encoding="latin-1").classes


def test_a_folder_with_a_training_text_needs_the_other_two(tmp_path: Path):
    (tmp_path / "train.txt").write_text("abc " * 50)
    with pytest.raises(ValueError, match=r"none for valid\. Add valid\.txt"):
        load(tmp_path)


def test_options_of_texts_are_refused_for_pictures():
    with pytest.raises(ValueError, match="tokens is an option of texts, and digits is none"):
        load("digits", tokens="words")


def test_a_stream_is_made_smaller_from_its_beginning_and_set_aside_from_its_end():
    data = load("text")
    assert subsample(data, 100, None).train.steps.tolist() == data.train.steps[:100].tolist()
    less, aside = set_aside(data, 0.1)
    assert torch.cat([less.train.steps, aside.steps]).equal(data.train.steps)
