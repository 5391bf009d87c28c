"""Searches and evaluations on streams: windows, carried states, judging, averaging and resuming."""

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted import Stop, assert_same
from streams import SMALL, letters
from torch import nn

from diffnas.components.pretext import rotation
from diffnas.data import DataSet, Stream
from diffnas.engine import passes
from diffnas.engine.averaging import Averaging
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Interrupted, NotFinite
from diffnas.engine.penalties import output_penalty
from diffnas.engine.ranks import ALONE, Ranks
from diffnas.engine.search import search
from diffnas.engine.settings import EvaluateSettings, SearchSettings, merge_settings
from diffnas.engine.tested import test as judge
from diffnas.engine.totals import check_falls
from diffnas.genotype import published
from diffnas.method import METHODS
from diffnas.nets.carried import carried, reading
from diffnas.nets.network import Network
from diffnas.space import recurrent
from diffnas.task import classification, forecast, language

CELL = published("DARTS_V2_RNN")


def searched(data: DataSet, method: str = "sparse", **options):
    arguments = {name: options.pop(name) for name in ("out", "resume", "listener") if name in options}
    task = options.pop("task", language)
    settings = merge_settings(SearchSettings, SMALL, {"epochs": 2, "optimizer": "adam", "lr": 0.01}, options)
    return search(
        data, space=recurrent, method=METHODS[method], settings=settings, device="cpu", task=task, **arguments
    )


def trained(data: DataSet, cell=CELL, task=language, **options):
    arguments = {name: options.pop(name) for name in ("out", "resume", "listener") if name in options}
    sizes = {name: value for name, value in SMALL.items() if name != "alpha_lr"}
    plain = {"epochs": 2, "optimizer": "adam", "lr": 0.01, "drop_path": 0.0, "auxiliary": 0.0}
    settings = merge_settings(EvaluateSettings, sizes, plain, options)
    return evaluate(cell, data, settings=settings, device="cpu", task=task, **arguments)


def test_an_epoch_reads_the_columns_in_order_and_never_shuffled():
    settings = SearchSettings(batch=3, window=4)
    split = Stream(steps=torch.arange(32), channels=32)
    for epoch in range(2):
        batches = passes.epoch_batches(split, torch.arange(32), settings, epoch, ALONE)
        assert torch.cat(batches, dim=1).tolist() == [list(range(first, first + 9)) for first in (0, 10, 20)]


def test_ranks_divide_the_columns():
    settings = SearchSettings(batch=4, window=5)
    split = Stream(steps=torch.arange(40), channels=40)
    whole, *parts = (
        torch.cat(passes.epoch_batches(split, torch.arange(40), settings, 0, ranks), dim=1)
        for ranks in (ALONE, Ranks(number=0, count=2), Ranks(number=1, count=2))
    )
    assert torch.cat(parts).equal(whole)


def test_drawn_windows_fill_the_columns_and_have_the_published_lengths():
    halved = passes.lengths(40_000, SearchSettings(windows="halved"), 0)
    assert sum(halved) == 40_000
    assert set(halved[:-1]) == {35, 17}
    assert 0.03 < halved.count(17) / len(halved) < 0.07
    varied = passes.lengths(40_000, EvaluateSettings(windows="varied"), 0)
    assert sum(varied) == 40_000
    assert 5 <= min(varied[:-1]) <= max(varied) <= 55
    assert varied != passes.lengths(40_000, EvaluateSettings(windows="varied"), 1)


def test_held_out_windows_begin_where_the_training_windows_do_and_have_full_length():
    settings = SearchSettings(batch=2, window=5, windows="halved")
    batches = [torch.zeros(2, length) for length in (5, 2, 5)]
    windows = passes.beside(torch.arange(100, 120), batches, settings)
    assert [(window[0, 0].item(), window.shape[1]) for window in windows] == [(100, 5), (105, 4), (107, 2)]


def test_the_rate_of_a_step_follows_the_length_of_its_window_and_is_put_back(tmp_path: Path):
    rates, lengths = [], []
    step = torch.optim.SGD.step

    def watched(self, *args):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    options = {"optimizer": "sgd", "momentum": 0.0, "lr": 1.0, "lr_min": 1.0, "windows": "varied", "window": 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", watched)
        found = trained(letters(400), **options, epochs=1)
    lengths = passes.lengths(99, EvaluateSettings(windows="varied", window=20), 0)
    assert rates == [length / 20 for length in lengths]
    assert found.trace[0]["lr"] == 1.0


def test_the_loss_does_not_depend_on_how_a_text_is_cut_into_windows(monkeypatch: pytest.MonkeyPatch):
    data, network = letters(), Network(CELL, classes=6, in_channels=6, channels=8, tokens=True).double()
    parts = {"batch": 1, "device": torch.device("cpu"), "ranks": ALONE}
    losses = []
    for window in (35, 1000):
        monkeypatch.setattr("diffnas.engine.tested._WINDOW", window)
        losses.append(judge(network, data.test, data, language, **parts))
    assert losses[0].loss == pytest.approx(losses[1].loss, rel=1e-6)
    assert losses[0].samples == losses[1].samples == 10 * 11


def test_metrics_are_those_of_the_mean_over_predictions():
    found = trained(letters(), epochs=1)
    line = found.trace[0]["train"]
    assert line["perplexity"] == pytest.approx(math.exp(line["loss"]))
    assert line["bits"] == pytest.approx(line["loss"] / math.log(2))
    assert set(found.test) == {"loss", "perplexity", "bits", "accuracy"}


def test_a_network_learns_what_follows_what():
    found = trained(letters(2000), epochs=6, lr=0.03, channels=16, window=10)
    assert found.test["accuracy"] > 0.8
    assert found.trace[-1]["held_out"]["bits"] < found.trace[0]["held_out"]["bits"]


@pytest.mark.parametrize("method", ["sparse", "darts", "darts-2nd"])
def test_searches_read_streams(method):
    options = {"optimizer": "sgd", "lr": 0.1} if method == "darts-2nd" else {}
    found = searched(letters(240), method, epochs=1, **options)
    assert math.isfinite(found.trace[0]["train"]["loss"])
    assert (found.trace[0]["held_out"] is None) == (method == "sparse")


def test_the_halves_of_a_text_are_contiguous(monkeypatch: pytest.MonkeyPatch):
    seen = []
    beside = passes.beside
    monkeypatch.setattr(passes, "beside", lambda held, *rest: seen.append(held) or beside(held, *rest))
    searched(letters(200), "darts", epochs=1)
    assert seen[0].equal(torch.arange(100, 200))


@pytest.mark.parametrize("method", ["sparse", "darts"])
def test_an_interrupted_search_of_a_text_ends_as_one_left_alone(method, tmp_path: Path):
    data, options = letters(160), {"windows": "halved", "dropouth": 0.2, "temporal": 0.1}
    searched(data, method, out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        searched(data, method, out=tmp_path / "parts", listener=Stop(3), **options)
    middle = torch.load(tmp_path / "parts" / "checkpoint" / "last.pt", weights_only=True)
    assert set(middle["carried"]) == {"train"} | ({"held_out"} if method == "darts" else set())
    searched(data, method, out=tmp_path / "parts", resume=True, **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_an_interrupted_evaluation_of_a_text_ends_as_one_left_alone(tmp_path: Path):
    data, options = (
        letters(160),
        {"windows": "varied", "dropout": 0.2, "averaging": True, "optimizer": "sgd", "lr": 1.0},
    )
    options |= {"epochs": 9, "momentum": 0.0}
    whole = trained(data, out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        trained(data, out=tmp_path / "parts", listener=Stop(50), **options)
    parts = trained(data, out=tmp_path / "parts", resume=True, **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert whole.test == parts.test


def test_the_next_epoch_begins_without_a_state():
    data = letters()
    found = trained(data, epochs=1)
    assert carried(found.network) == {}


def test_averages_are_the_mean_of_the_weights_since_the_loss_stopped_falling():
    net, averaging = nn.Linear(2, 1), Averaging()
    for loss in (3.0, 2.0, 2.1, 2.1, 2.1, 2.1):
        averaging.judge(loss, net)
        averaging.add(net)
    assert averaging.steps == 0
    averaging.judge(4.0, net)
    values = []
    for _ in range(3):
        nn.init.normal_(net.weight, generator=torch.Generator().manual_seed(len(values)))
        values.append(net.weight.detach().clone())
        averaging.add(net)
    with averaging.taken(net):
        torch.testing.assert_close(net.weight, torch.stack(values).mean(0))
    assert net.weight.equal(values[-1])


def test_penalties_are_those_of_the_last_window():
    net = Network(CELL, classes=6, in_channels=6, channels=4, tokens=True)
    net(torch.randint(6, (2, 5)))
    hidden = net.frame.hidden
    found = output_penalty(net.frame, EvaluateSettings(activation=2.0, temporal=3.0))
    wanted = 2 * hidden.dropped.square().mean() + 3 * hidden.whole.diff(dim=1).square().mean()
    torch.testing.assert_close(found, wanted)
    assert output_penalty(net.frame, EvaluateSettings()) == 0


def test_a_net_of_dead_cells_learns_the_frequencies_of_the_tokens():
    """Its bias is all that it has, so its loss ends at the entropy of single tokens."""
    drawn = torch.multinomial(
        torch.tensor([0.7, 0.2, 0.1, 0, 0, 0]), 3000, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    part = Stream(steps=drawn, channels=6)
    data = replace(letters(), train=part, valid=part, test=part)
    net = Network(CELL, classes=6, in_channels=6, channels=4, tokens=True)
    nn.init.zeros_(net.frame.embedding.weight)
    with torch.no_grad():
        counts = torch.bincount(drawn, minlength=6) / len(drawn)
        net.frame.head.bias.copy_(counts.clamp_min(1e-9).log())
    found = judge(net, part, data, language, batch=1, device=torch.device("cpu"), ranks=ALONE)
    entropy = -(counts[counts > 0] * counts[counts > 0].log2()).sum()
    assert found.metrics["bits"] == pytest.approx(float(entropy), abs=0.01)


def test_a_loss_far_above_guessing_stops_the_run_and_names_the_rate():
    with pytest.raises(
        NotFinite, match=r"loss is 8\.00 in epoch 3, and guessing has 4\.17: the learning rate 20 is too.*--lr 5"
    ):
        check_falls(8.0, 65, "epoch 3", 20.0, None)
    check_falls(6.0, 65, "epoch 3", 20.0, None)


def test_a_run_that_predicts_worse_than_chance_is_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("diffnas.engine.totals.Totals.loss", property(lambda self: 5.0))
    with pytest.raises(NotFinite, match="--lr"):
        trained(letters())


def test_too_few_steps_for_the_columns_are_refused_with_a_batch_that_fits():
    with pytest.raises(
        ValueError, match="12 columns of 120 steps have 10 each, and two windows of 5 need 11: use --batch 10"
    ):
        trained(letters(), batch=12)
    with pytest.raises(ValueError, match="letters: 12 columns"):
        searched(letters(), batch=12)


def test_tasks_and_data_must_fit(data: DataSet):
    with pytest.raises(ValueError, match="has one target a sample"):
        trained(letters(), task=classification)
    with pytest.raises(ValueError, match="has a target for each step"):
        trained(data, task=language)


def test_spaces_and_data_must_fit(data: DataSet):
    with pytest.raises(ValueError, match=r"space 'recurrent' is for sequences, and .* has pictures"):
        searched(data, task=classification, batch=20)
    with pytest.raises(ValueError, match="is for pictures, and letters has sequences"):
        trained(letters(), published("DARTS_V2"))


def test_a_stream_of_vectors_is_forecast(tmp_path: Path):
    wave = torch.sin(torch.arange(400) / 3).unsqueeze(1)
    part = Stream(steps=wave, channels=1)
    data = DataSet(name="wave", train=part, test=part, valid=part, classes=("x",), mean=(0.0,), std=(1.0,))
    found = trained(data, task=forecast, epochs=15, lr=0.02, channels=12, window=10, out=tmp_path / "run")
    naive = (wave[1:] - wave[:-1]).square().mean()
    assert found.test["error"] < naive


def test_a_state_is_read_anew_by_each_pass_of_a_step():
    net = Network(CELL, classes=6, in_channels=6, channels=4, tokens=True)
    window = torch.randint(6, (2, 5))
    with reading(net, "train"):
        net(window)
        before = carried(net)
        first = net(window).logits
        passes.rewind(net, "train", before)
        assert net(window).logits.equal(first)


@pytest.mark.slow
@pytest.mark.parametrize("space", ["recurrent", "transformer"])
def test_a_killed_search_of_a_text_ends_as_one_left_alone(tmp_path: Path, space: str):
    (tmp_path / "book.txt").write_text("the cat sat on the mat.\nthe dog sat on the log.\n" * 20)
    options = ["--epochs", "3", "--channels", "8", "--batch", "4", "--set", "window=8", "--threads", "1", "--quiet"]

    def begin(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "diffnas", "search", *words])

    new = [str(tmp_path / "book.txt"), "--space", space, "--method", "darts", *options, "--out"]
    assert begin(*new, str(tmp_path / "whole")).wait(300) == 0
    life = begin(*new, str(tmp_path / "parts"))
    trace = tmp_path / "parts" / "trace.jsonl"
    while not (trace.exists() and trace.read_text().count("\n") >= 1):
        assert life.poll() is None
        time.sleep(0.01)
    life.kill()
    life.wait()
    assert begin("--resume", str(tmp_path / "parts"), "--quiet").wait(300) == 0
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_pretext_of_pictures_is_refused_on_a_text():
    method = replace(METHODS["darts"], pretext=rotation)
    settings = merge_settings(SearchSettings, {"batch": 4, "channels": 6, "window": 5, "pretext_epochs": 1})
    with pytest.raises(ValueError, match="letters has sequences"):
        search(letters(), space=recurrent, method=method, settings=settings, device="cpu", task=language)
