"""What a network learns is a value: nothing outside it knows a loss or a metric."""

import ast
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffnas
from diffnas.engine.totals import Totals
from diffnas.report.page import page
from diffnas.report.reading import read_run
from diffnas.task import Metric, Task, classification

ROOT = Path(diffnas.__file__).parent


def called(path: Path) -> set[str]:
    """The names of all that a file calls."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


@pytest.mark.parametrize("room", ["engine", "report", "deploy", "api"])
def test_no_loss_and_no_argmax_is_computed_outside_a_task(room: str):
    for path in (ROOT / room).rglob("*.py"):
        assert not called(path) & {"cross_entropy", "argmax", "mse_loss", "augment", "normalize"}, path


def test_totals_are_the_means_over_all_samples_of_batches_of_any_size():
    totals = Totals(classification)
    logits, labels = torch.randn(7, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    for part in (slice(0, 4), slice(4, 7)):
        totals.add(classification.loss(logits[part], labels[part]), logits[part], labels[part])
    assert totals.loss == pytest.approx(float(classification.loss(logits, labels)), rel=1e-6)
    assert totals.metrics == {"accuracy": pytest.approx(float((logits.argmax(1) == labels).double().mean()))}
    assert totals.samples == 7


ROOT_ERROR = Task(
    name="regression",
    loss=torch.nn.functional.mse_loss,
    metrics={
        "error": Metric(sum=lambda found, wanted: (found - wanted).square().sum(), better="lower", value=math.sqrt)
    },
)


def test_a_metric_may_be_a_function_of_a_mean_and_better_where_it_is_lower():
    totals = Totals(ROOT_ERROR)
    found, wanted = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 2.0])
    totals.add(ROOT_ERROR.loss(found, wanted), found, wanted)
    assert totals.metrics == {"error": pytest.approx(math.sqrt(4.5))}
    assert totals.score == -totals.metrics["error"]


def test_a_task_without_smoothing_refuses_it_in_one_line():
    assert ROOT_ERROR.training_loss(0.0) is ROOT_ERROR.loss
    with pytest.raises(ValueError) as error:
        ROOT_ERROR.training_loss(0.1)
    assert str(error.value) == (
        "the task 'regression' cannot smooth its targets, and label_smoothing is 0.1. Take --set label_smoothing=0."
    )


def test_a_task_needs_a_metric():
    with pytest.raises(ValueError, match="has no metric"):
        Task(name="nothing", loss=torch.nn.functional.mse_loss, metrics={})


def second_best() -> Task:
    """The classes told apart, judged by the share of labels that are among the two highest logits."""

    def among(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.topk(2, dim=1).indices == labels[:, None]).any(dim=1).sum()

    return Task(name="second best", loss=classification.loss, metrics={"top2": Metric(sum=among, better="higher")})


SMALL = {"train": 40, "epochs": 1, "channels": 4, "depth": 3, "batch": 20, "device": "cpu", "check_memory": False}


def test_a_run_learns_a_task_of_ones_own_and_says_so_in_its_folder(tmp_path):
    out = tmp_path / "run"
    found = diffnas.search("digits", space="nas-bench-201", out=out, task=second_best(), **SMALL)
    assert found.trace[0]["train"].keys() == {"loss", "top2"}
    assert json.loads((out / "run.json").read_text())["task"] == second_best().record()
    trained = diffnas.evaluate(out, task=second_best(), epochs=1, channels=4, depth=3, device="cpu")
    assert 0 <= trained.test["top2"] <= 1
    assert "Test top2" in page(read_run(out))


def test_a_run_goes_on_with_its_own_task_alone(tmp_path):
    out = tmp_path / "run"
    diffnas.search("digits", space="nas-bench-201", out=out, task=second_best(), **SMALL)
    with pytest.raises(ValueError, match=r"learns the task 'second best'.*Give it again as task="):
        diffnas.search(out=out, resume=True)
    with pytest.raises(ValueError, match="another task: name was 'second best' and is 'classification'"):
        diffnas.search(out=out, resume=True, task=classification)
    assert diffnas.search(out=out, resume=True, task=second_best()).trace[0]["train"].keys() == {"loss", "top2"}


def test_a_whole_run_of_a_task_of_ones_own_has_no_contenders():
    with pytest.raises(ValueError, match="judged by accuracy, and the task is 'second best'"):
        diffnas.run("digits", task=second_best(), against="random:2")
