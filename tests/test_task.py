"""What a network learns is a value: nothing outside it knows a loss or a metric."""

import ast
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import diffnas
from diffnas.components import level
from diffnas.deploy.deployed import Deployed
from diffnas.deploy.source import source
from diffnas.engine.totals import Totals
from diffnas.method import darts
from diffnas.report.page import page
from diffnas.report.reading import read_run
from diffnas.task import Metric, Task, classification

ROOT = Path(diffnas.__file__).parent


def words(path: Path) -> set[str]:
    """The names of all that a file calls, and of all attributes that it reads."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {
        call.func.id for call in nodes if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }


OF_A_TASK = {
    *("cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "nll_loss"),
    *("argmax", "augment", "normalize", "uint8"),
}
ELSEWHERE = {
    ("nets", "trained.py"): {"normalize", "uint8"},  # a network in use takes the pictures that a user has
    ("components", "weighting.py"): {"argmax", "normalize"},  # of operations
    ("components", "pruning.py"): {"argmax"},
    ("components", "pretext.py"): {"argmax", "cross_entropy", "normalize"},  # tasks without labels
    ("report", "courses.py"): {"argmax"},  # of operations
    ("api", "contest.py"): {"argmax"},  # the next token, which is right or wrong
    ("api", "sequences.py"): {"argmax"},  # the next token
    ("deploy", "int8.py"): {"uint8"},  # as in nets/trained.py
    ("report", "contest.py"): {"uint8"},  # eight answers a byte
}


@pytest.mark.parametrize("room", ["nets", "method", "components", "engine", "report", "deploy", "api", "cli"])
def test_no_loss_no_metric_and_no_kind_of_picture_is_known_outside_a_task_and_its_data(room: str):
    found = {path: words(path) & OF_A_TASK for path in (ROOT / room).rglob("*.py")}
    assert {(room, path.name): known for path, known in found.items() if known} == {
        place: known for place, known in ELSEWHERE.items() if place[0] == room
    }


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


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"better": "less"}, "'higher' or 'lower', not 'less'."),
        ({"form": "%.2f"}, "such as '.3f' or '.1%', not '%.2f'."),
        ({"form": 2}, "not 2."),
    ],
)
def test_a_metric_that_could_not_be_written_is_refused_where_it_is_made(wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        Metric(**{"sum": torch.nn.functional.l1_loss, "better": "lower", **wrong})
    assert "\n" not in str(error.value)


def test_a_function_is_no_metric():
    with pytest.raises(ValueError) as error:
        Task(name="distance", loss=torch.nn.functional.l1_loss, metrics={"MAE": torch.nn.functional.l1_loss})
    assert str(error.value) == (
        "the task 'distance' has a function as its metric 'MAE', not a Metric. Write metrics={'MAE': Metric(sum=..., "
        "better='lower')}."
    )


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
    with pytest.raises(ValueError, match=r"learns the task 'second best'.*Give it again as task=\.\.\., in Python"):
        diffnas.search(out=out, resume=True)
    with pytest.raises(ValueError, match="another task: name was 'second best' and is 'classification'"):
        diffnas.search(out=out, resume=True, task=classification)
    assert diffnas.search(out=out, resume=True, task=second_best()).trace[0]["train"].keys() == {"loss", "top2"}


def test_a_whole_run_of_a_task_of_ones_own_has_no_contenders(tmp_path):
    with pytest.raises(ValueError, match="judged by accuracy, and the task is 'second best'"):
        diffnas.run("digits", task=second_best(), against="random:2")
    with pytest.raises(ValueError, match="task must be a Task, not a str"):
        diffnas.run("digits", task="classification", against="random:2", out=tmp_path / "run")


def marked(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Grey pictures with a bright left half, a bright upper half, both or none, and which of the two they have."""
    drawn = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count, 2), generator=drawn)
    pictures = torch.randint(0, 60, (count, 8, 8), generator=drawn)
    pictures[:, :, :4] += 90 * labels[:, 0, None, None]
    pictures[:, :4] += 90 * labels[:, 1, None, None]
    return pictures.to(torch.uint8), labels


def right_marks(logits: Tensor, labels: Tensor) -> Tensor:
    return ((logits > 0) == labels.bool()).double().mean(1).sum()


MARKS = Task(
    name="marks",
    loss=torch.nn.functional.binary_cross_entropy_with_logits,
    metrics={"right": Metric(sum=right_marks, better="higher", form=".1%")},
    several=True,
)
BARS = (marked(60, 0), marked(30, 1))
TINY = {"epochs": 1, "channels": 4, "depth": 3, "batch": 10, "device": "cpu"}


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search and an evaluation of a task with several labels a picture."""
    out = tmp_path_factory.mktemp("runs") / "marks"
    diffnas.search(BARS, space="nas-bench-201", out=out, task=MARKS, **TINY)
    diffnas.evaluate(out, BARS, task=MARKS, epochs=12, channels=4, depth=3, batch=10, lr=0.1, device="cpu")
    return out


def test_pictures_of_several_classes_are_learned_tested_and_named(marks: Path):
    run = read_run(marks)
    assert run.search is not None
    assert run.evaluation is not None
    assert run.evaluation.result is not None
    assert run.search.lines[0].train.keys() == {"loss", "right"}
    assert run.evaluation.result.test["right"] > 0.9
    trained = diffnas.load(marks)
    pictures, labels = marked(40, 2)
    named = trained.predict(pictures[:, None])
    assert torch.equal(named, trained.logits(pictures[:, None]).sigmoid())
    assert ((named > 0.5) == labels.bool()).double().mean() > 0.9


def test_what_a_network_of_several_classes_is_exported_to_gives_each_class_its_own_probability(marks: Path):
    trained, pictures = diffnas.load(marks), marked(3, 2)[0][:, None]
    assert torch.allclose(Deployed(trained)(pictures)[1], trained.predict(pictures), atol=1e-6)
    assert "network(pictures).sigmoid()" in source(trained)
    with pytest.raises(ValueError, match="int8 is judged by accuracy"):
        diffnas.export(marks, ["int8"])


def test_a_level_may_make_batches_of_pictures_of_several_classes():
    def second_half(step):
        step.weight_gradient((step.train[0][:5], step.train[1][:5]))
        step.move_weights()

    method = replace(darts, name="half", level=level.Level(step=second_half, data="whole"))
    assert diffnas.search(BARS, space="nas-bench-201", method=method, task=MARKS, **TINY).trace


def test_labels_that_a_task_does_not_take_are_refused_in_one_line(tmp_path: Path):
    with pytest.raises(ValueError) as error:
        diffnas.search("digits", space="nas-bench-201", task=MARKS, out=tmp_path / "run", **SMALL)
    assert str(error.value) == (
        "digits[40]: each picture has one label, and the task 'marks' learns several classes a picture. Pass arrays, "
        "((pictures, labels), (pictures, labels)), with labels of 0 and 1, (pictures, classes)."
    )
    with pytest.raises(ValueError, match="learns one class a picture"):
        diffnas.search(BARS, space="nas-bench-201", out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("marks", "task must be a Task, not a str"),
        (replace(MARKS, name="classification"), "'classification' is the name of a task of diffnas"),
        (replace(MARKS, loss=lambda outputs, targets: outputs - targets), r"the loss <lambda> must return the mean"),
        (replace(MARKS, loss=lambda outputs, targets: targets.mean()), "which follows the outputs"),
        (replace(MARKS, metrics={"n": Metric(sum=lambda o, t: 1, better="lower")}), "the sum of the metric <lambda>"),
    ],
)
def test_a_task_that_cannot_work_is_refused_by_name_before_anything_is_written(task, said, tmp_path: Path):
    with pytest.raises(ValueError, match=said) as error:
        diffnas.search(BARS, space="nas-bench-201", task=task, out=tmp_path / "run", **TINY)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
