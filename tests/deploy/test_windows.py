"""Transformers of sequences: each format takes a whole window, and gives what the network gives."""

from typing import Any

import pytest
import torch
from nets_of_sequences import net_of
from torch import Tensor

from diffnas.deploy.formats import WINDOWS, export
from diffnas.genotype import parse
from diffnas.nets.trained import Trained, load

LAYERS = "attn_4 | mlp_4 | window_4 | glu_2 | sepconv_3 | none | pool_5+dwconv_3 | mlp_1 | attn_half | none"


def trained(kind: Any = "text", skeleton: str = "transformer", window: int = 20) -> Trained:
    return net_of(parse(f"{skeleton} | {LAYERS}"), kind, channels=8, window=window)


def windows(kind: str, count: int = 20) -> Tensor:
    drawn = torch.Generator().manual_seed(0)
    return (
        torch.randint(6, (3, count), generator=drawn) if kind == "text" else torch.randn(3, count, 3, generator=drawn)
    )


@pytest.mark.parametrize("kind", ["text", "forecast"])
@pytest.mark.parametrize("form", ["source", "torch", "exported"])
def test_each_format_gives_what_the_network_gives(form, kind, tmp_path):
    (agreement,) = export(trained(kind), tmp_path, [form], windows(kind))
    assert agreement.difference < 1e-5
    assert (tmp_path / WINDOWS[form].file).exists()
    assert not (tmp_path / "preprocess.py").exists()


def test_the_source_of_the_other_norm_reads_shorter_windows_too(tmp_path):
    found = trained(skeleton="transformer:rms", window=40)
    export(found, tmp_path, ["source"], windows("text", 40))
    names: dict[str, Any] = {}
    exec((tmp_path / "network.py").read_text(), names)
    short = windows("text", 7)
    with torch.no_grad():
        torch.testing.assert_close(names["load"](tmp_path / "network.safetensors")(short), found.network(short).logits)


def test_onnx_takes_a_whole_window(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export(trained(), tmp_path, ["onnx"], windows("text"))
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    assert [(each.name, each.shape[1:]) for each in session.get_inputs()] == [("window", [20])]
    assert [(each.name, each.shape[1:]) for each in session.get_outputs()] == [("outputs", [20, 6])]


def test_a_network_that_labels_sequences_is_exported_as_a_graph_with_their_ends_and_not_as_source(tmp_path):
    found, whole = trained("labelled"), windows("labelled")
    whole[1, 12:] = torch.nan
    (agreement,) = export(found, tmp_path, ["exported"], whole)
    assert agreement.difference < 1e-5
    with pytest.raises(ValueError, match=r"labels whole sequences is not known here\. Export to onnx"):
        export(found, tmp_path, ["source"], whole)


def test_a_network_of_windows_is_read_back_with_its_window(tmp_path):
    found = trained()
    export(found, tmp_path, ["torch"], windows("text"))
    again = load(tmp_path)
    assert again.network.frame.window == 20
    assert torch.equal(again.network(windows("text")).logits, found.network(windows("text")).logits)
