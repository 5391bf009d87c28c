"""Searches and evaluations of transformers on texts and other sequences."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted import Stop, assert_same
from streams import letters

from diffnas.data import DataSet, Series, Stream, from_sequences
from diffnas.engine.aim import Aim
from diffnas.engine.evaluate import EvaluateResult, evaluate
from diffnas.engine.learned import task_of
from diffnas.engine.listen import Interrupted
from diffnas.engine.search import SearchResult, search
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.engine.target import Target
from diffnas.genotype import parse, read
from diffnas.method import METHODS
from diffnas.nets.sized import Size
from diffnas.nets.trained import load
from diffnas.space import darts, transformer, transformer_graph, with_own_cells

NETWORK = parse("transformer | attn_2 | mlp_1 | sepconv_3 | none")
TINY: dict[str, Any] = {"batch": 4, "channels": 8, "window": 5, "optimizer": "adamw", "decay": "matrices", "lr": 0.01}


def searched(
    data: DataSet, method: str = "sparse", space: Any = transformer, aim: Any = None, **given: Any
) -> SearchResult:
    paths = {name: given.pop(name) for name in ("out", "resume", "listener") if name in given}
    settings = {**TINY, "epochs": 2, "depth": 2, "alpha_lr": 0.1, "alpha_per": "cell", "alpha_init": 3e-4, **given}
    method_of = METHODS[method]
    return search(
        data, space=space, method=method_of, settings=SearchSettings(**settings), task=task_of(data), aim=aim, **paths
    )


def trained(data: DataSet, what: Any = NETWORK, **given: Any) -> EvaluateResult:
    paths = {name: given.pop(name) for name in ("out", "resume", "listener") if name in given}
    settings = {**TINY, "epochs": 1, "auxiliary": 0.0, "cutout": 0, "drop_path": 0.0, **given}
    return evaluate(what, data, settings=EvaluateSettings(**settings), task=task_of(data), **paths)


def labelled() -> DataSet:
    """Sequences of five to eight steps that rise or fall."""
    sequences = [torch.arange(5.0 + k % 4).unsqueeze(1) * (1 - 2 * (k % 2)) + k for k in range(24)]
    labels = [k % 2 for k in range(24)]
    return from_sequences((sequences, labels), (sequences[::5], labels[::5]))


def rows(count: int = 200) -> DataSet:
    """A wave of two numbers, each of which follows from the last two steps."""
    time = torch.arange(float(count))
    steps = torch.stack([(time / 3).sin(), (time / 2).cos()], dim=1)
    parts = {name: Stream(steps=steps, channels=2) for name in ("train", "test", "valid")}
    return DataSet(name="rows", **parts, classes=("sine", "cosine"), mean=(0.0, 0.0), std=(1.0, 1.0))


def test_a_text_is_learned_below_the_bits_of_single_letters() -> None:
    found = trained(letters(800), epochs=4)
    assert found.test["bits"] < 0.5 * math.log2(6)
    assert found.trace[-1]["held_out"]["bits"] < found.trace[0]["held_out"]["bits"]


def test_the_next_row_of_a_table_is_learned() -> None:
    assert trained(rows(400), epochs=6, lr=0.02).test["error"] < 0.1


def test_the_label_of_sequences_of_several_lengths_is_learned() -> None:
    assert trained(labelled(), epochs=20, lr=0.03).test["accuracy"] == 1


def test_cost_and_size_are_those_of_what_is_read_at_once(tmp_path: Path) -> None:
    d, n = 8, 5
    found = trained(letters(), out=tmp_path)
    assert found.macs == n * 4 * d * d + 2 * n * n * d + n * 2 * d * d + n * (4 * d * d + 6 * d)
    assert json.loads((tmp_path / "run.json").read_text())["data"]["size"] == [5]
    assert load(tmp_path).size == (5,)
    assert trained(labelled()).network.frame.window == 8


def test_the_same_windows_train_a_transformer_and_a_recurrent_net(monkeypatch: pytest.MonkeyPatch) -> None:
    data, take = letters(200), Stream.take
    data = replace(data, valid=data.valid.subset(torch.arange(50)), test=data.test.subset(torch.arange(50)))
    seen: list[Any] = []

    def watched(stream: Stream, places: torch.Tensor) -> Any:
        seen.extend([places.tolist()] if len(stream) == 200 else [])
        return take(stream, places)

    monkeypatch.setattr(Stream, "take", watched)
    trained(data, windows="halved")
    windows, seen = seen, []
    trained(data, read("lstm"), windows="halved")
    assert windows
    assert windows == seen


def test_a_network_without_a_state_is_judged_in_windows_of_its_own_length() -> None:
    data = letters(101)
    found = trained(data)
    columns = data.test.steps[:100].view(10, 10)
    with torch.no_grad():
        told = torch.cat([found.network(window).logits for window in (columns[:, :5], columns[:, 5:9])], dim=1)
    loss = torch.nn.functional.cross_entropy(told.flatten(0, 1), columns[:, 1:].flatten())
    assert found.test["loss"] == pytest.approx(float(loss))


@pytest.mark.parametrize("method", ["sparse", "darts", "gates", "gdas-released"])
def test_a_method_of_each_family_finds_a_transformer_of_a_text(method: str) -> None:
    found = searched(letters(240), method, epochs=1)
    assert math.isfinite(trained(letters(), found.genotype).test["bits"])


@pytest.mark.parametrize("data", [rows(), labelled()], ids=["rows", "labelled"])
def test_other_sequences_are_searched(data: DataSet) -> None:
    assert math.isfinite(searched(data, epochs=1).trace[0]["train"]["loss"])


def test_graphs_of_operations_are_searched_on_a_text() -> None:
    found = searched(letters(), space=transformer_graph, epochs=1, depth=1)
    assert math.isfinite(trained(letters(), found.genotype).test["bits"])


@pytest.mark.parametrize("method", ["sparse", "darts"])
def test_an_interrupted_search_of_a_text_ends_as_one_left_alone(method: str, tmp_path: Path) -> None:
    data, options = letters(160), {"windows": "halved", "dropout": 0.2, "epochs": 3, "alpha_lr": 0.3}
    whole = searched(data, method, out=tmp_path / "whole", **options)
    assert method != "sparse" or not all(map(all, whole.trace[-1]["keep"])), "nothing was removed"
    with pytest.raises(Interrupted):
        searched(data, method, out=tmp_path / "parts", listener=Stop(5), **options)
    searched(data, method, out=tmp_path / "parts", resume=True, **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_an_interrupted_evaluation_of_a_text_ends_as_one_left_alone(tmp_path: Path) -> None:
    data, options = letters(160), {"dropout": 0.2, "drop_path": 0.2, "epochs": 3}
    whole = trained(data, out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        trained(data, out=tmp_path / "parts", listener=Stop(11), **options)
    parts = trained(data, out=tmp_path / "parts", resume=True, **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert whole.test == parts.test


@pytest.mark.parametrize("target", [Target(cost="params", value=1800), Target(cost="macs", value=8000)], ids=str)
def test_a_search_of_a_text_under_a_target_lands_on_it(target: Target) -> None:
    aim = Aim(targets=(target,), size=Size(8, 2), window=5)
    found = searched(letters(), space=with_own_cells(transformer, 2), epochs=1, aim=aim)
    assert found.landing is not None
    assert found.landing.met
    size = found.landing.size
    deployed = trained(letters(), found.genotype, channels=size.channels)
    assert {"params": deployed.parameters, "macs": deployed.macs}[target.cost] == found.landing.costs[target.cost]


def test_windows_that_may_be_longer_than_the_table_are_refused() -> None:
    for run in (searched, trained):
        with pytest.raises(ValueError, match=r"windows=varied draws longer windows than 5 steps.*windows=fixed"):
            run(letters(), windows="varied")


def test_more_steps_than_attention_can_hold_are_refused() -> None:
    with pytest.raises(ValueError, match=r"letters: 3,000 steps are read at once, and .* reads 2,048 at most"):
        trained(letters(), window=3000)
    long = Series(steps=torch.zeros(2, 2049, 1), labels=torch.arange(2))
    with pytest.raises(ValueError, match="2,049 steps are read at once"):
        trained(replace(labelled(), train=long))


def test_a_text_is_refused_by_nets_of_pictures_with_the_spaces_that_would_do() -> None:
    with pytest.raises(ValueError, match=r"letters has sequences\. Take --space recurrent or transformer"):
        searched(letters(), space=darts, alpha_per="kind", depth=3)
