import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from diffnas.data import DataSet
from diffnas.data.augment import augment
from diffnas.engine.evaluate import EvaluateResult, evaluate
from diffnas.engine.listen import Interrupted, NotFinite, Silent
from diffnas.engine.optimizers import optimizer_of
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import parse, published
from diffnas.nets import trained
from diffnas.nets.ops import build
from diffnas.run_files import NETWORK, WEIGHTS

TINY = EvaluateSettings(epochs=2, batch=40, channels=4, depth=3, cutout=2)
RESNET = parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|")


class Stops(Silent):
    """Asks a run to end when its first epoch is over."""

    def epoch(self, line: dict) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def run(data: DataSet, genotype=RESNET, settings: EvaluateSettings = TINY, **options) -> EvaluateResult:
    return evaluate(genotype, data, settings=settings, device="cpu", **options)


def without_clock(trace: list[dict]) -> list[dict]:
    return [{name: entry for name, entry in line.items() if name not in ("seconds", "peak_memory")} for line in trace]


@pytest.mark.parametrize("genotype", [RESNET, published("DARTS_V2")], ids=["nas-bench-201", "darts"])
def test_an_evaluation_leaves_its_numbers_and_its_network(data: DataSet, tmp_path: Path, genotype):
    result = run(data, genotype, out=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["test_pictures"] == 50
    assert [kept[name] for name in ("test", "parameters", "macs")] == [
        result.test,
        result.parameters,
        result.macs,
    ]
    lines = [json.loads(line) for line in (tmp_path / "run" / "trace.jsonl").read_text().splitlines()]
    assert lines == result.trace
    assert set(lines[0]) == {"epoch", "train", "lr", "steps", "seconds", "peak_memory"}
    assert result.test["accuracy"] * 50 == pytest.approx(round(result.test["accuracy"] * 50))


def test_one_seed_gives_one_network_and_another_seed_another(data: DataSet):
    first, same, other = (run(data, settings=replace(TINY, seed=seed)) for seed in (0, 0, 1))
    assert without_clock(first.trace) == without_clock(same.trace)
    assert first.test["loss"] == same.test["loss"]
    assert first.test["loss"] != other.test["loss"]


def test_the_learning_rate_follows_its_schedule(data: DataSet):
    rates = {
        fall: [line["lr"] for line in run(data, settings=replace(TINY, epochs=3, lr=0.3, lr_fall=fall)).trace]
        for fall in ("cosine", "line")
    }
    assert rates["cosine"] == pytest.approx([0.3, 0.225, 0.075])
    assert rates["line"] == pytest.approx([0.18, 0.12, 0.06])


@pytest.mark.parametrize(
    ("warmup", "rates"),
    [(0, [0.3] * 6), (1, [0.1, 0.2] + [0.3] * 4), (1.5, [0.3 / 4.5 * k for k in (1, 2, 3, 4, 4.5, 4.5)])],
)
def test_the_learning_rate_rises_step_by_step_before_it_falls(data: DataSet, monkeypatch, warmup, rates):
    seen: list[float] = []

    def watched(*arguments, **options) -> torch.optim.Optimizer:
        optimizer = optimizer_of(*arguments, **options)
        optimizer.register_step_pre_hook(lambda *_: seen.append(optimizer.param_groups[0]["lr"]))
        return optimizer

    monkeypatch.setattr("diffnas.engine.evaluate.optimizer_of", watched)
    run(data, settings=replace(TINY, lr=0.3, lr_min=0.3, warmup=warmup))
    assert seen == pytest.approx(rates)


def test_decay_matrices_spares_norms_and_biases():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    optimizer = optimizer_of(net.parameters(), replace(TINY, weight_decay=0.01, decay="matrices"))
    decay = {id(each): group["weight_decay"] for group in optimizer.param_groups for each in group["params"]}
    told = {name: decay[id(each)] for name, each in net.named_parameters()}
    assert told == {"0.weight": 0.01, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 0.01, "3.bias": 0}


def test_an_evaluation_in_which_only_matrices_decay_goes_on_bit_for_bit(data: DataSet, tmp_path: Path):
    settings = replace(TINY, decay="matrices", weight_decay=0.1, warmup=1.5)
    whole = run(data, settings=settings)
    with pytest.raises(Interrupted):
        run(data, settings=settings, out=tmp_path, listener=Stops())
    again = run(data, settings=settings, out=tmp_path, resume=True)
    assert without_clock(again.trace) == without_clock(whole.trace)
    assert again.test["loss"] == whole.test["loss"]
    assert again.test["loss"] != run(data, settings=replace(settings, decay="all")).test["loss"]


@pytest.mark.parametrize("phase", ["search", "evaluate"])
def test_training_pictures_are_mirrored_as_the_settings_say_or_else_as_the_data_does(
    data: DataSet, quick, monkeypatch, phase
):
    seen: set[bool] = set()

    def watched(images, augmentation, *rest):
        seen.add(augmentation.flip)
        return augment(images, augmentation, *rest)

    monkeypatch.setattr("diffnas.data.data_set.augment", watched)
    mirrored = replace(data, augmentation=replace(data.augmentation, flip=True))
    for given, flip, expected in [
        (data, None, False),
        (mirrored, None, True),
        (data, True, True),
        (mirrored, False, False),
    ]:
        seen.clear()
        if phase == "search":
            quick(data=given, flip=flip, epochs=1)
        else:
            run(given, settings=replace(TINY, epochs=1, flip=flip))
        assert seen == {expected}


def test_it_learns(data: DataSet):
    settings = replace(TINY, epochs=12, batch=20, channels=8, lr=0.1, cutout=0)
    assert run(data, settings=settings).test["accuracy"] > 0.5


@pytest.mark.parametrize("genotype", [RESNET, published("DARTS_V2")], ids=["dense kernels", "depthwise kernels"])
def test_moving_all_weights_in_one_call_gives_the_same_network(data: DataSet, monkeypatch, genotype):
    settings = replace(TINY, epochs=1, drop_path=0.0)
    fused = dict(run(data, genotype, settings).network.state_dict())

    def one_by_one(weights, settings: EvaluateSettings, **options) -> torch.optim.Optimizer:
        optimizer = optimizer_of(weights, settings, **options)
        optimizer.param_groups[0].update(fused=False, foreach=False)
        return optimizer

    monkeypatch.setattr("diffnas.engine.evaluate.optimizer_of", one_by_one)
    torch.testing.assert_close(fused, dict(run(data, genotype, settings).network.state_dict()), rtol=1e-4, atol=1e-5)


def test_the_test_split_is_read_only_after_the_last_step(data: DataSet):
    steps: list[float] = []

    class Watched(type(data.test)):  # type: ignore[misc]
        def take(self, indices):
            steps.append(float("nan"))
            return super().take(indices)

        def to(self, device):
            return self

    class Counting(Silent):
        def step(self, loss: float, accuracy: float) -> None:
            steps.append(loss)

    watched = replace(data, test=Watched(images=data.test.images, labels=data.test.labels))
    run(watched, listener=Counting())
    assert [step != step for step in steps] == [False] * 6 + [True]


def test_the_accuracy_is_the_share_of_right_test_pictures(data: DataSet, tmp_path: Path):
    result = run(data, out=tmp_path / "run")
    images, labels = data.test.take(torch.arange(50))
    predicted = trained.load(tmp_path / "run").predict(images).argmax(dim=1)
    assert (predicted == labels).double().mean().item() == pytest.approx(result.test["accuracy"])


def test_the_random_numbers_of_the_user_stay_where_they_were(data: DataSet):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run(data, published("DARTS_V2"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "change",
    [
        {"drop_path": 0.9},
        {"auxiliary": 0.0},
        {"label_smoothing": 0.3},
        {"cutout": 4},
        {"clip": 0.01},
        {"nesterov": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_reaches_the_training(data: DataSet, change):
    plain = replace(TINY, drop_path=0.2, auxiliary=0.4)
    first, second = (run(data, published("DARTS_V2"), settings) for settings in (plain, replace(plain, **change)))
    assert first.trace[-1]["train"]["loss"] != second.trace[-1]["train"]["loss"]


def test_the_auxiliary_head_is_neither_counted_nor_kept(data: DataSet, tmp_path: Path):
    with_head = run(data, published("DARTS_V2"), out=tmp_path / "run")
    without = run(data, published("DARTS_V2"), replace(TINY, auxiliary=0.0))
    assert with_head.parameters == without.parameters
    assert with_head.macs == without.macs
    assert trained.load(tmp_path / "run").network.frame.auxiliary is None


def test_a_loss_that_leaves_the_numbers_ends_the_training(data: DataSet, tmp_path: Path):
    with pytest.raises(NotFinite, match="lower learning rate"):
        run(data, settings=replace(TINY, lr=1e30, clip=0.0), out=tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


def test_operations_of_ones_own_are_trained(data: DataSet):
    mine = parse("|mine~0|+|none~0|mine~1|+|skip_connect~0|none~1|mine~2|")
    result = run(data, mine, factories={"mine": lambda slot: build("nor_conv_3x3", slot)})
    assert result.parameters > 1000


def test_a_cell_that_passes_nothing_on_is_refused_before_anything_is_written(data: DataSet, tmp_path: Path):
    genotype = published("DARTS_V2")
    empty = replace(genotype.cells["normal"], connections=())
    dead = replace(genotype, cells={**genotype.cells, "normal": empty})
    with pytest.raises(ValueError, match="passes nothing on"):
        run(data, dead, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# The network on disk.


@pytest.fixture(scope="module")
def folder(data: DataSet, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "run"
    run(data, published("DARTS_V2"), replace(TINY, epochs=1), out=path)
    return path


def test_a_network_comes_back_from_disk_with_the_same_logits(data: DataSet, tmp_path: Path):
    result = run(data, published("DARTS_V2"), out=tmp_path / "run")
    loaded = trained.load(tmp_path / "run")
    x = torch.randn(7, 1, 8, 8)
    assert torch.equal(loaded.network(x).logits, result.network.eval()(x).logits)
    assert not loaded.network.training
    assert (loaded.genotype, loaded.classes) == (published("DARTS_V2"), data.classes)
    assert (loaded.channels, loaded.size, loaded.mean, loaded.std) == (1, (8, 8), data.mean, data.std)


def test_probabilities_sum_to_one(data: DataSet, folder: Path):
    images, _ = data.test.take(torch.arange(5))
    probabilities = trained.load(folder).predict(images)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(5))


@pytest.mark.parametrize("wrong", [torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)])
def test_pictures_of_another_kind_are_refused(folder: Path, wrong: torch.Tensor):
    with pytest.raises(ValueError, match="pictures must be uint8"):
        trained.load(folder).predict(wrong)


def test_the_network_of_a_whole_run_is_found_in_its_evaluation_folder(folder: Path, tmp_path: Path):
    folder_of_all = tmp_path / "all"
    folder_of_all.mkdir()
    (folder_of_all / "evaluation").symlink_to(folder)
    assert trained.load(folder_of_all).classes == trained.load(folder).classes


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for name in (WEIGHTS, NETWORK):
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def edited(record: Path, **changes) -> None:
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))


DAMAGE = {
    "weights cut": lambda path: (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-100]),
    "weights empty": lambda path: (path / WEIGHTS).write_bytes(b""),
    "weights missing": lambda path: (path / WEIGHTS).unlink(),
    "record cut": lambda path: (path / NETWORK).write_text((path / NETWORK).read_text()[:50]),
    "record not text": lambda path: (path / NETWORK).write_bytes(b"\xff\xfe\x00"),
    "record a list": lambda path: (path / NETWORK).write_text("[]"),
    "record empty": lambda path: (path / NETWORK).write_text("{}"),
    "another schema": lambda path: edited(path / NETWORK, schema="something"),
    "another version": lambda path: edited(path / NETWORK, version=99),
    "another genotype": lambda path: edited(path / NETWORK, genotype={"schema": "diffnas/genotype"}),
    "classes left out": lambda path: edited(path / NETWORK, classes=["0", "1"]),
    "channels that are none": lambda path: edited(path / NETWORK, channels="one"),
    "a network of another size": lambda path: edited(
        path / NETWORK, network={"channels": 8, "depth": 3, "stem": "cifar"}
    ),
    "mean that is none": lambda path: edited(path / NETWORK, mean=None),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_network_is_named(folder: Path, tmp_path: Path, damage):
    path = copied(folder, tmp_path / "copy")
    damage(path)
    with pytest.raises(ValueError) as error:
        trained.load(path)
    assert str(path) in str(error.value)


def test_a_folder_without_a_network_says_how_to_train_one(tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds no trained network. Train one with: diffnas evaluate"):
        trained.load(tmp_path)
