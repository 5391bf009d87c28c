"""A search finds the same cells whichever backend computes its supernet."""

import json
from dataclasses import replace
from html import unescape

import pytest
import torch
from torch import nn
from ways import InPyTorch

from diffnas.backends.choose import Choice
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Silent
from diffnas.engine.search import SearchResult
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype.text import parse
from diffnas.nets.network import Network
from diffnas.report.page import page
from diffnas.report.reading import read_run
from diffnas.space import darts, nas_bench_201

# alpha moves fast enough for operations to be removed.
SHORT = {"epochs": 2, "batch": 40, "alpha_lr": 0.02, "lr": 0.005}

SEARCHES = {
    "sparse, nas-bench-201": (nas_bench_201, "sparse", 0),
    "darts, nas-bench-201": (nas_bench_201, "darts", 0),
    "sparse, darts": (darts, "sparse", 3),
    "darts, darts": (darts, "darts", 2),
}


def assert_one_result(fast: SearchResult, plain: SearchResult, *, pruned: bool) -> None:
    assert fast.genotype == plain.genotype
    assert [line["genotype"] for line in fast.trace] == [line["genotype"] for line in plain.trace]
    assert [line["keep"] for line in fast.trace] == [line["keep"] for line in plain.trace]
    live = [line["indicators"]["live_ops"] for line in fast.trace]
    offered = len(plain.trace[0]["keep"]) * len(plain.trace[0]["keep"][0])
    assert (live[-1] < offered) == pruned


@pytest.mark.parametrize(("space", "method", "seed"), SEARCHES.values(), ids=SEARCHES)
def test_in_double_precision_the_whole_course_is_the_same(quick, space, method: str, seed: int, monkeypatch):
    """Where rounding is out of the way, alpha is the same to 13 decimals."""
    options = {**SHORT, "epochs": 1, "space": space, "seed": seed, "precision": "64-true"}
    plain = quick(method, **options)
    monkeypatch.setattr("diffnas.engine.sync_norm.choose", lambda *_, **__: Choice(InPyTorch(), None))
    fast = quick(method, **options)
    assert_one_result(fast, plain, pruned=method == "sparse")
    alphas = [torch.tensor([line["alpha"] for line in result.trace], dtype=torch.float64) for result in (fast, plain)]
    torch.testing.assert_close(*alphas, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("space", "method", "seed"), SEARCHES.values(), ids=SEARCHES)
def test_with_compiled_kernels_the_found_cells_are_the_same(quick, space, method: str, seed: int):
    """In a run so short that float32's rounding, which a search amplifies some tenfold in a few steps, stays small."""
    pytest.importorskip("numba")
    fast, plain = (quick(method, backend=how, space=space, seed=seed, **SHORT) for how in ("auto", "plain"))
    assert_one_result(fast, plain, pruned=method == "sparse")


def test_by_itself_a_search_takes_the_fast_way(quick):
    pytest.importorskip("numba")
    unasked, fast, plain = (
        quick("sparse", epochs=1, batch=60, **options) for options in ({}, {"backend": "cpu"}, {"backend": "plain"})
    )
    told = [result.trace[0]["alpha"] for result in (unasked, fast, plain)]
    assert told[0] == told[1] != told[2]


class Ear(Silent):
    """Hears how a run is computed."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_search_says_what_computes_its_cells_and_why_not_faster(quick, tmp_path):
    ((kind, graph),) = nas_bench_201.cells.items()
    offered = (*graph.ops[:5], (*graph.ops[5], "mine"))
    own = replace(
        nas_bench_201,
        ops=(*nas_bench_201.ops, "mine"),
        factories={"mine": lambda slot: nn.Conv2d(slot.width, slot.out, 3, slot.stride, 1)},
        cells={kind: replace(graph, ops=offered)},
    )
    told: list[list[str]] = []
    for space, backend in ((nas_bench_201, "cpu"), (own, "cpu"), (nas_bench_201, "plain")):
        ear, out = Ear(), tmp_path / str(len(told))
        quick(space=space, backend=backend, epochs=1, out=out, listener=ear)
        assert json.loads((out / "run.json").read_text())["computed"] == ear.notes
        told.append(ear.notes)
    assert told[0] == ["cells run by the cpu backend"]
    assert told[1][0] == told[0][0]
    assert "no kernel knows the operation 'mine' on edge 2 -> 3" in told[1][1]
    assert told[2] == ["cells run operation by operation, in PyTorch"]


def test_a_search_says_why_a_backend_leaves_its_pictures_to_pytorch(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(InPyTorch, "why_not", lambda self, x: f"it computes maps of 9 rows, not {tuple(x.shape)}")
    monkeypatch.setattr("diffnas.engine.sync_norm.choose", lambda *_, **__: Choice(InPyTorch(), None))
    ear, out = Ear(), tmp_path / "run"
    quick(space=nas_bench_201, epochs=1, out=out, listener=ear)
    (told,) = json.loads((out / "run.json").read_text())["computed"]
    assert ear.notes == [told]
    assert "the torch backend cannot train on these pictures, because it computes maps of 9 rows, not (1, " in told
    assert told in unescape(page(read_run(out)))


def test_an_evaluation_says_what_computes_its_cells(data):
    ear = Ear()
    settings = EvaluateSettings(epochs=1, channels=4, depth=3, auxiliary=0.0, batch=40)
    cells = parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    evaluate(cells, data, settings=settings, listener=ear)
    assert ear.notes == ["cells run by the cpu backend"]


@pytest.mark.parametrize(("op", "while_training"), [("nor_conv_3x3", 1), ("conv_7x1_1x7", 2)])
def test_pytorch_has_one_thread_while_kernels_alone_train_a_network(data, op, while_training):
    """Its threads would spin on the cores that kernels need. They all take part in the test, which has no kernels."""
    pytest.importorskip("numba")
    seen = {}

    def note(module: nn.Module, _: object) -> None:
        if isinstance(module, Network):
            seen.setdefault(module.training, torch.get_num_threads())

    cell = f"[('{op}', 0), ('skip_connect', 1)]"
    genotype = parse(f"Genotype(normal={cell}, normal_concat=[2], reduce={cell}, reduce_concat=[2])")
    handle = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        settings = EvaluateSettings(epochs=1, channels=4, depth=3, auxiliary=0.0, batch=40)
        evaluate(genotype, data, settings=settings, threads=2)
    finally:
        handle.remove()
    assert seen == {True: while_training, False: 2}
