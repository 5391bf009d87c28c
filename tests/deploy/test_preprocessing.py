"""An exported network sees the very pixels that training and ``predict`` saw."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffnas.api.predict import read_picture
from diffnas.data import load
from diffnas.data.levels import Levels
from diffnas.deploy import export
from diffnas.deploy.deployed import about
from diffnas.nets.trained import load as load_trained

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
RNG = np.random.default_rng(0)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RNG.integers(0, 256, (12, 20, 3), np.uint8)).save(path.with_suffix(".jpg"), exif=exif)


def transparent(path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (12, 20, 4), np.uint8)).save(path)


def deep(path: Path) -> None:
    Image.fromarray(RNG.integers(200, 4096, (12, 20)).astype(np.uint16)).save(path)


def palette(path: Path) -> None:
    color = Image.fromarray(RNG.integers(0, 256, (12, 20, 3), np.uint8)).quantize(16)
    color.save(path, transparency=3)


def floating(path: Path) -> None:
    Image.fromarray(RNG.normal(size=(12, 20)).astype(np.float32) * 900).save(path.with_suffix(".tiff"))


@pytest.fixture
def preprocess(tmp_path, monkeypatch):
    """What imports the exported file ``preprocess.py`` from a folder."""

    def get(folder: Path):
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "preprocess", raising=False)
        return import_module("preprocess")

    yield get
    sys.modules.pop("preprocess", None)


@pytest.mark.parametrize("channels", [1, 3])
def test_training_prediction_and_exports_see_the_same_pixels(channels, trained, pictures, preprocess, tmp_path):
    for make in (turned, transparent, deep, palette, floating):
        for name in ("a", "b"):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            for number in range(2):
                make(tmp_path / "set" / name / f"{make.__name__}{number}.png")
    for split in ("train", "test"):  # the same files, so that the order of the training pictures is that of the files
        (tmp_path / "both" / split).parent.mkdir(exist_ok=True)
        (tmp_path / "both" / split).symlink_to(tmp_path / "set")
    data = load(tmp_path / "both", size=10, channels=channels)
    assert data.levels is not None
    network = replace(trained("|skip_connect~0|+|none~0|none~1|", size=10, channels=channels), levels=data.levels)
    export(network, tmp_path / "out", ["source", "torch"], pictures(network))
    told = {name: json.loads(text) for name, text in about(network).items()}
    reading = preprocess(tmp_path / "out")
    files = sorted((tmp_path / "set").glob("*/*"))
    assert len(files) == len(data.train) == 20
    for row, file in enumerate(files):
        seen = data.train.take(torch.tensor([row]))[0][0]
        assert torch.equal(read_picture(load_trained(tmp_path / "out"), file), seen)
        exported = reading.read(file, told["channels"], told["size"], told["levels"])
        assert np.array_equal(exported, seen.numpy()), file
        assert exported.dtype == np.uint8


def test_the_tutorial_reads_pictures_with_the_exported_file():
    (step,) = (
        block for block in re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL) if "onnx" in block
    )
    assert 'return preprocess.read(path, about["channels"], about["size"], about["levels"])' in step


def test_levels_travel_with_a_network_and_older_ones_have_none(trained, pictures, tmp_path):
    network = replace(trained("|skip_connect~0|"), levels=Levels(3.0, 4000.0))
    export(network, tmp_path, ["torch"], pictures(network))
    assert load_trained(tmp_path).levels == Levels(3.0, 4000.0)
    record = json.loads((tmp_path / "network.json").read_text())
    del record["levels"]
    (tmp_path / "digests.json").unlink()
    (tmp_path / "network.json").write_text(json.dumps(record))
    assert load_trained(tmp_path).levels is None


def test_the_source_names_what_reads_its_pictures(trained, pictures, tmp_path):
    network = replace(trained("|skip_connect~0|"), levels=Levels(3.0, 4000.0))
    export(network, tmp_path, ["source"], pictures(network))
    source = (tmp_path / "network.py").read_text()
    assert "CHANNELS, SIZE, LEVELS = 1, (8, 8), (3.0, 4000.0)" in source
    assert "preprocess.read(path, CHANNELS, SIZE, LEVELS)" in source
    assert "preprocess.py does it" in about(network)["preprocessing"]
