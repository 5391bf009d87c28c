"""Every form of a network does what the network does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffnas.convolutions import CONVOLUTIONS
from diffnas.deploy import FORMATS, Disagreement, export, source_transformer
from diffnas.deploy.check import check
from diffnas.deploy.source import OPERATIONS, source
from diffnas.genotype import Cell, Connection, Genotype, published
from diffnas.nets.frames.darts import Darts
from diffnas.nets.ops import OPS

NB201 = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"

TRANSFORMER = "transformer | attn_4+window_4+pool_3+dwconv_5 | mlp_4+glu_2 | sepconv_3+attn_half | none"


def every_op() -> Genotype:
    """Cells in which every operation stands on an edge from an input, and those of 3x3 pixels somewhere else too."""
    ops = [op for op in OPERATIONS if not op.startswith("nor_")]
    twice = [op for op in ops if op not in CONVOLUTIONS or CONVOLUTIONS[op].kernel == 3]
    first = [Connection(op, index % 2, 2) for index, op in enumerate(ops)]
    cell = Cell(inputs=2, nodes=4, connections=(*first, *(Connection(op, 2, 3) for op in twice)), output=(2, 3))
    return Genotype(skeleton="darts", cells={"normal": cell, "reduce": cell})


def one_input() -> Genotype:
    connections = (Connection("sep_conv_3x3", 0, 1), Connection("skip_connect", 0, 2), Connection("noise", 4, 5))
    cell = Cell(inputs=1, nodes=6, connections=connections, output=(1, 2, 5))
    return Genotype(skeleton="darts", cells={"normal": cell, "reduce": cell})


def unread() -> Genotype:
    """Cells with a node that nothing reads, and an input that nothing reads."""
    connections = (Connection("sep_conv_3x3", 1, 2), Connection("dil_conv_3x3", 1, 3), Connection("skip_connect", 3, 4))
    cell = Cell(inputs=2, nodes=5, connections=connections, output=(4,))
    return Genotype(skeleton="darts", cells={"normal": cell, "reduce": cell})


def small() -> Genotype:
    ops = ("sep_conv_5x5", "skip_connect", "dil_conv_3x3", "max_pool_3x3")
    connections = tuple(Connection(op, index % 2, 2 + index // 2) for index, op in enumerate(ops))
    cell = Cell(inputs=2, nodes=4, connections=connections, output=(2, 3))
    return Genotype(skeleton="darts", cells={"normal": cell, "reduce": cell})


SHAPES = {
    "small": {"genotype": small()},
    "every operation": {"genotype": every_op()},
    "odd sizes": {"genotype": every_op(), "size": 13, "channels": 3},
    "published": {"genotype": published("DARTS_V2"), "depth": 6, "stem": "cifar-half"},
    "imagenet": {"genotype": published("PC_DARTS_cifar"), "size": 32, "channels": 3, "stem": "imagenet"},
    "nas-bench-201": {"genotype": NB201, "size": 9},
    "nothing but zeros": {"genotype": "|none~0|+|none~0|none~1|"},
    "one input": {"genotype": one_input()},
    "unread nodes": {"genotype": unread()},
    "transformer": {"genotype": TRANSFORMER, "size": 13, "channels": 3, "depth": None},
    "transformer of patches": {"genotype": "transformer:rms:attend | attn_2 | glu_1", "size": 32, "stem": "patch"},
    "transformer of one kind": {"genotype": "transformer | pool_3 | mlp_1"},
}
FEW = ("small", "nas-bench-201", "transformer", "transformer of patches")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_source_of_a_network_gives_its_logits(shape, trained, pictures, tmp_path):
    network = trained(**SHAPES[shape])
    (found,) = export(network, tmp_path, ["source"], pictures(network))
    assert found.pictures == 100
    assert found.path == tmp_path / "network.py"


@pytest.mark.parametrize("shape", FEW)
def test_an_onnx_file_gives_the_logits_and_the_probabilities_in_batches_of_any_size(shape, trained, pictures, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = trained(**SHAPES[shape])
    shown = pictures(network)
    (found,) = export(network, tmp_path, ["onnx"], shown)
    session = onnxruntime.InferenceSession(found.path, providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(None, {"pictures": shown[:7].numpy()})
    np.testing.assert_allclose(logits, network.logits(shown[:7]).numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(probabilities, network.predict(shown[:7]).numpy(), rtol=1e-5, atol=1e-5)
    told = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(told["classes"])) == network.classes
    assert tuple(json.loads(told["mean"])) == network.mean
    assert session.get_inputs()[0].shape == ["batch", network.channels, *network.size]


@pytest.mark.parametrize("shape", FEW)
def test_a_torch_export_program_runs_where_diffnas_cannot_be_imported(shape, trained, pictures, tmp_path):
    network = trained(**SHAPES[shape])
    shown = pictures(network)
    (found,) = export(network, tmp_path, ["exported"], shown)
    code = (
        "import sys, torch; torch.set_grad_enabled(False); told = {'classes': ''}\n"
        "run = torch.export.load(sys.argv[1], extra_files=told).module()\n"
        "torch.save((run(torch.load(sys.argv[2]))[0], told['classes']), sys.argv[3])"
    )
    logits, classes = alone(code, found.path, shown, tmp_path)
    torch.testing.assert_close(logits, network.logits(shown), rtol=1e-5, atol=1e-5)
    assert tuple(json.loads(classes)) == network.classes


def test_the_source_runs_where_diffnas_cannot_be_imported(trained, pictures, tmp_path):
    network = trained(**SHAPES["every operation"])
    shown = pictures(network)
    (found,) = export(network, tmp_path, ["source"], shown)
    code = (
        "import sys, torch; sys.path.append(sys.argv[1].removesuffix('network.py')); torch.set_grad_enabled(False)\n"
        "import network\n"
        "run = network.load(sys.argv[1].replace('.py', '.safetensors'))\n"
        "torch.save((run(torch.load(sys.argv[2])), network.CLASSES), sys.argv[3])"
    )
    logits, classes = alone(code, found.path, shown, tmp_path)
    torch.testing.assert_close(logits, network.logits(shown), rtol=1e-5, atol=1e-5)
    assert classes == network.classes


def alone(code: str, path: Path, shown: torch.Tensor, folder: Path) -> tuple[torch.Tensor, object]:
    """What code saves in a process that cannot import diffnas, or anything else that is not asked for."""
    guard = "import sys\nsys.modules['diffnas'] = sys.modules['safetensors'] = sys.modules['onnx'] = None\n"
    torch.save(shown, folder / "shown.pt")
    words = [sys.executable, "-I", "-c", guard + code, str(path), str(folder / "shown.pt"), str(folder / "out.pt")]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    result: tuple[torch.Tensor, object] = torch.load(folder / "out.pt")
    return result


def test_the_source_is_formatted_and_free_of_lint(trained, tmp_path):
    for index, shape in enumerate(SHAPES.values()):
        (tmp_path / f"network{index}.py").write_text(source(trained(**shape)))
    rules = "--select=E,F,W,I,B,UP,SIM,RUF,N,C4,PERF"
    for words in (["check", rules], ["format", "--diff"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", "--line-length=120", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_source_knows_every_operation_that_is_not_random():
    assert {*OPERATIONS, *source_transformer.OPERATIONS} == set(OPS) - {"none", "noise"}


def test_weights_and_json_load_in_three_lines_and_without_the_engine(trained, pictures, tmp_path):
    network = trained(**SHAPES["published"])
    shown = pictures(network)
    export(network, tmp_path, ["torch"], shown)
    code = (
        "import sys, torch\n"
        "from diffnas.nets.trained import load\n"
        "trained = load(sys.argv[1])\n"
        "probabilities = trained.predict(torch.load(sys.argv[2]))\n"
        "assert not any(name.startswith(('diffnas.engine', 'lightning')) for name in sys.modules), sys.modules\n"
        "torch.save(probabilities, sys.argv[3])"
    )
    torch.save(shown, tmp_path / "shown.pt")
    words = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "shown.pt"), str(tmp_path / "out.pt")]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert torch.equal(torch.load(tmp_path / "out.pt"), network.predict(shown))


def test_a_file_that_does_something_else_is_not_let_through(trained, pictures, tmp_path):
    network = trained(NB201)
    shown = pictures(network)
    right = network.logits
    assert check(tmp_path, right, network, shown).difference < 1e-6
    for wrong in (
        lambda batch: right(batch) * 1.001,
        lambda batch: right(batch).roll(1, 0),
        lambda batch: right(batch) * float("nan"),
        # Right for all pictures together, and wrong for one alone.
        lambda batch: right(batch) if len(batch) > 1 else right(batch) + 1,
    ):
        with pytest.raises(Disagreement, match="does not do what the network does; largest difference on 100 pictures"):
            check(tmp_path, wrong, network, shown)


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "torch"])
def test_a_network_that_draws_random_numbers_is_refused(form, trained, pictures, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    noisy = Cell(inputs=2, nodes=3, connections=(Connection("noise", 0, 2),), output=(2,))
    network = trained(Genotype(skeleton="darts", cells={"normal": noisy, "reduce": noisy}))
    with pytest.raises(ValueError, match="'noise' operations, which give another output every time"):
        export(network, tmp_path, [form], pictures(network))


def test_own_operations_have_no_source(trained):
    network = trained(published("DARTS_V2"))
    own = Cell(inputs=2, nodes=3, connections=(Connection("gelu_conv", 0, 2),), output=(2,))
    object.__setattr__(network, "genotype", Genotype(skeleton="darts", cells={"normal": own, "reduce": own}))
    with pytest.raises(ValueError, match=r"'gelu_conv' is an operation of your own.* Export to onnx"):
        source(network)


def test_an_own_frame_has_no_source(trained):
    class Other(Darts):
        pass

    network = trained(published("DARTS_V2"))
    network.network.frame.__class__ = Other
    with pytest.raises(ValueError, match=r"'Other' is a frame of your own.* Export to onnx"):
        source(network)


def test_an_unknown_form_is_refused_before_anything_is_written(trained, pictures, tmp_path):
    network = trained(NB201)
    with pytest.raises(ValueError, match="Did you mean 'onnx'"):
        export(network, tmp_path / "out", ["source", "onxn"], pictures(network))
    assert not (tmp_path / "out").exists()
