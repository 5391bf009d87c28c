"""Recurrent networks as one step: each format gives what the network gives along whole windows."""

import pytest
import torch
from nets_of_sequences import net_of
from torch import Tensor

from diffnas.deploy.formats import STEPS, export
from diffnas.genotype import Cell, Connection, Genotype, read
from diffnas.nets.trained import Trained


def _windows(trained: Trained) -> Tensor:
    return torch.randint(6, (3, 5)) if trained.kind == "text" else torch.randn(3, 5, 3)


def _several() -> Genotype:
    connections = Connection("relu", 0, 1), Connection("tanh", 0, 2), Connection("identity", 1, 2)
    cell = Cell(inputs=1, nodes=4, connections=connections, output=(1, 2, 3))
    return Genotype(skeleton="recurrent", cells={"recurrent": cell})


@pytest.mark.parametrize("name", ["DARTS_V2", "lstm", "gru", "several"])
@pytest.mark.parametrize("form", ["source", "torch", "exported"])
def test_each_format_gives_what_the_network_gives(form, name, tmp_path):
    trained = net_of(_several() if name == "several" else read(name, sequences=True), channels=4)
    (agreement,) = export(trained, tmp_path, [form], _windows(trained))
    assert agreement.difference < 1e-5
    assert (tmp_path / STEPS[form].file).exists()
    assert not (tmp_path / "preprocess.py").exists()


@pytest.mark.parametrize("name", ["DARTS_V2", "lstm"])
def test_onnx_takes_one_step_with_the_state_of_the_caller(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    trained = net_of(read(name, sequences=True), channels=4)
    export(trained, tmp_path, ["onnx"], _windows(trained))
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["step", "state"]
    assert [each.name for each in session.get_outputs()] == ["output", "next_state"]
    assert session.get_inputs()[1].shape[1] == (8 if name == "lstm" else 4)


def test_a_forecast_is_exported_too(tmp_path):
    trained = net_of(read("DARTS_V1", sequences=True), "forecast", channels=4)
    assert all(each.difference < 1e-5 for each in export(trained, tmp_path, ["source", "exported"], _windows(trained)))


@pytest.mark.parametrize("form", ["source", "exported"])
def test_a_label_of_a_whole_sequence_is_refused(form, tmp_path):
    trained = net_of(read("DARTS_V1", sequences=True), "labelled", channels=4)
    with pytest.raises(ValueError, match=r"network that labels whole sequences .* Take --format torch"):
        export(trained, tmp_path, [form], _windows(trained))
