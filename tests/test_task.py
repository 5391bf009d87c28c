"""What a network learns is a value: nothing outside it knows a loss or a metric."""

import ast
import math
from pathlib import Path

import pytest
import torch

import diffnas
from diffnas.engine.totals import Totals
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
