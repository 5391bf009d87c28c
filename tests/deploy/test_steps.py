"""Recurrent networks as one step: each format gives what the network gives along whole windows."""

import pytest
import torch
from torch import Tensor, nn

from diffnas.data.tokens import Tokens
from diffnas.deploy.formats import STEPS, export
from diffnas.genotype import Cell, Connection, Genotype, read
from diffnas.nets.network import Network
from diffnas.nets.trained import Trained

VOCABULARY = tuple("abc\n'é")


def _trained(genotype: Genotype, kind: str = "text", **more) -> Trained:
    torch.manual_seed(0)
    text = kind == "text"
    inputs = len(VOCABULARY) if text else 3
    shape = {"tokens": text, "forecast": kind == "forecast"}
    net = Network(genotype, classes=inputs, in_channels=inputs, channels=4, **shape, **more).eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.5)
    return Trained(
        network=net,
        genotype=genotype,
        classes=tuple(map(repr, VOCABULARY)) if text else ("x", "y", "z"),
        channels=inputs,
        size=(1,),
        mean=() if text else (0.0, 0.0, 0.0),
        std=() if text else (1.0, 1.0, 1.0),
        built={"channels": 4, "depth": None, "stem": "cifar"},
        kind=kind,
        tokens=Tokens(kind="characters", lower=False, vocabulary=VOCABULARY) if text else None,
    )


def _windows(trained: Trained) -> Tensor:
    return torch.randint(6, (3, 5)) if trained.kind == "text" else torch.randn(3, 5, 3)


def _several() -> Genotype:
    connections = Connection("relu", 0, 1), Connection("tanh", 0, 2), Connection("identity", 1, 2)
    cell = Cell(inputs=1, nodes=4, connections=connections, output=(1, 2, 3))
    return Genotype(skeleton="recurrent", cells={"recurrent": cell})


@pytest.mark.parametrize("name", ["DARTS_V2", "lstm", "gru", "several"])
@pytest.mark.parametrize("form", ["source", "torch", "exported"])
def test_each_format_gives_what_the_network_gives(form, name, tmp_path):
    trained = _trained(_several() if name == "several" else read(name, sequences=True))
    (agreement,) = export(trained, tmp_path, [form], _windows(trained))
    assert agreement.difference < 1e-5
    assert (tmp_path / STEPS[form].file).exists()
    assert not (tmp_path / "preprocess.py").exists()


@pytest.mark.parametrize("name", ["DARTS_V2", "lstm"])
def test_onnx_takes_one_step_with_the_state_of_the_caller(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    trained = _trained(read(name, sequences=True))
    export(trained, tmp_path, ["onnx"], _windows(trained))
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["step", "state"]
    assert [each.name for each in session.get_outputs()] == ["output", "next_state"]
    assert session.get_inputs()[1].shape[1] == (8 if name == "lstm" else 4)


def test_a_forecast_is_exported_too(tmp_path):
    trained = _trained(read("DARTS_V1", sequences=True), "forecast")
    assert all(each.difference < 1e-5 for each in export(trained, tmp_path, ["source", "exported"], _windows(trained)))


@pytest.mark.parametrize("form", ["source", "exported"])
def test_a_label_of_a_whole_sequence_is_refused(form, tmp_path):
    trained = _trained(read("DARTS_V1", sequences=True), "labelled")
    with pytest.raises(ValueError, match=r"network that labels whole sequences .* Take --format torch"):
        export(trained, tmp_path, [form], _windows(trained))
