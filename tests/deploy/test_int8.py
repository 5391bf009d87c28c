"""Networks of 8 bits: smaller, measured, and close to what they were made from."""

import json

import numpy as np
import pytest
import torch

from diffnas.cli import main
from diffnas.data import load
from diffnas.deploy.int8 import write_int8
from diffnas.report.page import write_report

onnxruntime = pytest.importorskip("onnxruntime")

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"


def test_a_network_of_8_bits_gives_nearly_the_same_logits_in_fewer_bytes(trained, tmp_path):
    network, data = trained(CELL, channels=1), load("digits")
    images, labels = data.test.images.contiguous(), data.test.labels
    made = write_int8(network, data.train.images[:128], tmp_path / "small.onnx", (images, labels))
    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"pictures": images.numpy()})[0]
    expected = network.logits(images).numpy()
    assert np.abs(logits - expected).max() < 0.15 * np.abs(expected).max()
    assert (logits.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9
    assert made.accuracy[1] == (logits.argmax(axis=1) == labels.numpy()).mean()
    assert made.accuracy[0] == (expected.argmax(axis=1) == labels.numpy()).mean()
    assert made.bytes[1] == made.path.stat().st_size < made.bytes[0]
    assert made.pictures == len(labels)


def test_an_export_of_8_bits_is_told_and_shown_in_the_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run = tmp_path / "run"
    small = [f"--set={phase}.{key}" for phase in ("search", "evaluate") for key in ("channels=4", "depth=3")]
    words = ["--space", "nas-bench-201", "--train", "100", "--epochs", "1", "--evaluate-epochs", "1", *small]
    assert main(["run", *words, "--out", str(run), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["export", str(run), "--format", "int8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["int8"]
    assert told["pictures"] == 450
    assert (run / "export" / "network.int8.onnx").exists()
    assert (run / "export" / "preprocess.py").exists()
    assert f"{told['accuracy'][1]:.2%}" in write_report(run).read_text(encoding="utf-8")
    (run / "export" / "int8.json").write_text('{"pictures": -1}')
    assert main(["report", str(run)]) == 2
    assert "int8.json is damaged" in capsys.readouterr().err


def test_a_format_that_there_is_not_is_refused_before_anything_is_written(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--format", "int9"]) == 2
    assert "Did you mean 'int8'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_other_numbers_of_batches_calibrate_too(trained, tmp_path):
    data = load("digits")
    images = data.train.images[:65].contiguous()
    made = write_int8(trained(CELL), images, tmp_path / "small.onnx", (images, data.train.labels[:65]))
    assert made.pictures == 65
    assert torch.isfinite(torch.tensor(made.milliseconds)).all()
