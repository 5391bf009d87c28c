"""From a run folder to a network without diffnas, and to names for pictures."""

import json
import shutil

import pytest
import torch
from PIL import Image

import diffnas
from diffnas.cli import main
from diffnas.data import load

TINY = ["--space", "nas-bench-201", "--train", "100", "--epochs", "1", "--evaluate-epochs", "1"]
TINY += [f"--set={phase}.{key}" for phase in ("search", "evaluate") for key in ("channels=4", "depth=3")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run, searched and evaluated."""
    out = tmp_path_factory.mktemp("take-away") / "run"
    assert main(["run", *TINY, "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with pictures of digits in folders, one of them damaged."""
    place = tmp_path_factory.mktemp("pictures")
    pictures, _ = load("digits").test.take(torch.arange(70))
    (place / "deep" / "deeper").mkdir(parents=True)
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels[0].numpy()).save(place / ("deep/deeper" if index % 2 else "deep") / f"{index:02}.png")
    (place / "damaged.png").write_bytes(b"no picture")
    (place / ".hidden.png").write_bytes(b"no picture")
    return place


def test_export_checks_what_it_writes_with_pictures_of_the_run(finished, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["export", str(finished), "--format", "source", "--format", "torch"]) == 0
    told = capsys.readouterr().out
    for file in ("network.py", "network.json"):
        assert f"{finished}/export/{file}\n    largest difference on 100 pictures: " in told
    assert (finished / "export" / "network.safetensors").stat().st_size > 0


def test_without_its_data_an_export_asks_for_pictures(finished, folder, tmp_path, capsys):
    shutil.copytree(finished / "evaluation", tmp_path / "moved")
    (tmp_path / "moved" / "run.json").unlink()
    words = ["export", str(tmp_path / "moved"), "--format", "source", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "checked on real pictures, and its own cannot be loaded" in capsys.readouterr().err
    assert main([*words, "--pictures", str(folder), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert [file["pictures"] for file in numbers["files"]] == [70]
    assert main([*words, "--pictures", str(folder / "damaged.png")]) == 2
    assert "no picture can be read" in capsys.readouterr().err


def test_what_was_exported_as_torch_is_loaded_like_a_run(finished, tmp_path):
    diffnas.export(finished, ["torch"], out=tmp_path)
    shown, _ = load("digits").test.take(torch.arange(10))
    assert torch.equal(diffnas.load(tmp_path).logits(shown), diffnas.load(finished).logits(shown))


def test_predict_takes_folders_and_names_several_classes(finished, folder, capsys):
    assert main(["predict", str(finished), str(folder), "--top", "3", "--json"]) == 2
    told = capsys.readouterr()
    assert told.err == f"error: {folder}/damaged.png: empty, or not a picture.\n"
    predictions = json.loads(told.out)["predictions"]
    paths = [prediction["picture"] for prediction in predictions]
    assert paths == sorted(str(path) for path in folder.glob("deep/**/*.png"))
    trained = diffnas.load(finished)
    pictures, _ = load("digits").test.take(torch.arange(70))
    by_name = {path.rsplit("/")[-1]: prediction["classes"] for path, prediction in zip(paths, predictions, strict=True)}
    for index, expected in enumerate(trained.predict(pictures)):
        classes = by_name[f"{index:02}.png"]
        assert [guess["name"] for guess in classes] == [trained.classes[k] for k in expected.topk(3).indices]
        assert classes[0]["probability"] == pytest.approx(float(expected.max()), rel=1e-5)


def test_an_empty_folder_is_named(finished, tmp_path, capsys):
    assert main(["predict", str(finished), str(tmp_path)]) == 2
    assert "there is no file in this folder" in capsys.readouterr().err
