"""Double precision: everything that a result follows from is float64, and a run ends and goes on as in single."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted import Stop, assert_same, remains
from shared_runs import SMALL_DARTS
from torch import Tensor
from torch.nn import functional

from diffnas.data import DataSet
from diffnas.data.augment import normalize
from diffnas.deploy import export
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Interrupted
from diffnas.engine.search_state import begin
from diffnas.engine.search_step import SearchStep
from diffnas.engine.settings import EvaluateSettings, SearchSettings, merge_settings
from diffnas.genotype import Genotype, parse, published
from diffnas.method import METHODS, component
from diffnas.nets import trained
from diffnas.nets.network import Network
from diffnas.space import nas_bench_201

TINY = EvaluateSettings(epochs=2, batch=20, channels=4, depth=3, cutout=2)
RESNET = parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|")

# One of every kind: what it measures, rebuilds, draws, changes or learns beside alpha.
SEARCHES: dict[str, tuple[Any, dict[str, Any]]] = {
    "sparse": ("sparse", {}),
    "looks ahead": ("darts-2nd", {}),
    "measures eigenvalues": ("r-darts", {"eigenvalue_every": 1}),
    "measures operations": ("darts-pt", {"epochs": 1}),
    "has stages": ("p-darts", {"epochs": 3, "depth": 3}),
    "replaces operations": ("prune-and-replace", {"epochs": 9, "space": SMALL_DARTS}),
    "draws operations": ("gdas-released", {}),
    "draws gates": ("path-regularized", {}),
    "has strengths of edges": ("pc-darts", {"space": SMALL_DARTS, "alpha_warmup": 0}),
    "learns an order": (replace(METHODS["darts"], weighting=component("weighting", "learned-entmax")), {}),
    "has an auxiliary head": ("darts", {"space": SMALL_DARTS, "auxiliary": 0.4}),
}


def floats(state: Any) -> set[torch.dtype]:
    """The dtypes of all floating-point tensors in a nested state, but of the steps that Adam counts."""
    if isinstance(state, Tensor):
        return {state.dtype} if state.is_floating_point() else set()
    if isinstance(state, dict):
        state = [part for name, part in state.items() if name != "step"]
    return set().union(*map(floats, state)) if isinstance(state, list | tuple) else set()


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The dtypes of the logits that any loss was taken of."""
    seen: list[torch.dtype] = []
    loss = functional.cross_entropy

    def watched(logits: Tensor, *arguments: Any, **options: Any) -> Tensor:
        seen.append(logits.dtype)
        return loss(logits, *arguments, **options)

    monkeypatch.setattr(functional, "cross_entropy", watched)
    return seen


@pytest.fixture
def few(data: DataSet) -> DataSet:
    return replace(data, train=data.train.subset(torch.arange(40)), test=data.test.subset(torch.arange(10)))


@pytest.mark.parametrize(("method", "options"), SEARCHES.values(), ids=SEARCHES)
def test_a_search_is_in_double_precision_throughout(
    quick, few: DataSet, losses: list[torch.dtype], tmp_path: Path, method: Any, options: dict[str, Any]
) -> None:
    quick(method, out=tmp_path, data=few, precision="64-true", **{"batch": 10, "backend": "plain", **options})
    assert set(losses) == {torch.float64}
    assert floats(remains(tmp_path)[1]) == {torch.float64}


@pytest.mark.parametrize("method", ["sparse", "darts-2nd"])
def test_a_search_in_double_precision_goes_on_as_if_never_interrupted(
    quick, few: DataSet, tmp_path: Path, method: str
) -> None:
    options = {"data": few, "precision": "64-true", "batch": 10}
    quick(method, out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        quick(method, out=tmp_path / "parts", listener=Stop(3), **options)
    quick(method, out=tmp_path / "parts", resume=True, **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_both_precisions_begin_with_the_same_numbers(few: DataSet) -> None:
    settings, place = merge_settings(SearchSettings, {"batch": 10, "channels": 4, "depth": 3}), torch.device("cpu")
    single, double = (
        begin(few, nas_bench_201, METHODS["gaea-pc-darts"], settings, place, dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert torch.equal(single.alpha.double(), double.alpha)
    assert torch.equal(single.beta.double(), double.beta)
    for one, other in zip(single.supernet.parameters(), double.supernet.parameters(), strict=True):
        assert torch.equal(one.double(), other)


def test_the_gradient_of_alpha_is_that_of_a_loss_in_double_precision(quick, few: DataSet, monkeypatch) -> None:
    """Against the same passes written out: alpha, the supernet and the loss, with nothing between them."""
    compared = []
    usual = SearchStep.alpha_gradient

    def checked(step: SearchStep, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
        found, state = usual(step, batch), step.state
        assert all(weight.dtype == torch.float64 for weight in state.supernet.parameters())
        logits = state.supernet(batch[0].double(), step.mix().edges)
        (expected,) = torch.autograd.grad(functional.cross_entropy(logits, batch[1]), state.alpha)
        torch.testing.assert_close(found[0], expected, rtol=1e-11, atol=1e-14)
        compared.append(found)
        return found

    monkeypatch.setattr(SearchStep, "alpha_gradient", checked)
    quick("darts", data=few, precision="64-true", batch=10, epochs=1, backend="plain")
    assert compared


@pytest.mark.parametrize("genotype", [published("DARTS_V2"), RESNET], ids=["darts", "nas-bench-201"])
def test_an_evaluation_in_double_precision_ends_and_goes_on(
    few: DataSet, losses: list[torch.dtype], tmp_path: Path, genotype: Genotype
) -> None:
    train = partial(evaluate, genotype, few, settings=TINY, device="cpu", precision="64-true")
    result = train(out=tmp_path / "whole")
    assert set(losses) == {torch.float64}
    assert floats(remains(tmp_path / "whole")[1]) == {torch.float64}
    assert math.isfinite(result.test["loss"])
    with pytest.raises(Interrupted):
        train(out=tmp_path / "parts", listener=Stop(3))
    train(out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    # Over again, as after a crash between the last epoch and the test.
    assert train(out=tmp_path / "whole", resume=True).test["loss"] == result.test["loss"]


def test_a_network_trained_in_double_precision_can_be_loaded_and_exported(few: DataSet, tmp_path: Path) -> None:
    result = evaluate(
        published("DARTS_V2"), few, settings=TINY, device="cpu", precision="64-true", out=tmp_path / "run"
    )
    loaded = trained.load(tmp_path / "run")
    pictures = few.test.take(torch.arange(10))[0]
    logits = loaded.logits(pictures)
    assert logits.dtype == torch.float64
    own = result.network(normalize(pictures, few.mean, few.std)).logits
    assert torch.equal(logits, own.detach())
    agreements = export(loaded, tmp_path / "away", ["exported", "source", "torch"], pictures.contiguous())
    assert [found.difference < 1e-5 for found in agreements] == [True] * 3


def test_a_network_takes_pictures_in_the_precision_of_its_weights() -> None:
    network = Network(RESNET, classes=3, channels=4, depth=3).double()
    assert network(torch.zeros(2, 3, 8, 8)).logits.dtype == torch.float64
    assert network(torch.zeros(2, 3, 8, 8), drop_path=0.5).logits.dtype == torch.float64
