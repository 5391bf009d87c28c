"""What TensorBoard is told."""

import sys

import pytest

from diffnas.cli import main
from diffnas.cli.options import heard
from diffnas.engine.tensorboard import TensorBoard
from diffnas.task import classification

LINE = {
    "epoch": 0,
    "train": {"loss": 0.5},
    "held_out": None,
    "indicators": {"skips": 2},
    "genotype": {"version": 1},
    "mix": [[0.5, 0.5]],
}


class Written:
    """A writer that remembers."""

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, [], False

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def written(monkeypatch):
    """What is written, whether or not TensorBoard is installed."""
    made = []

    class Module:
        @staticmethod
        def SummaryWriter(folder, purge_step):  # noqa: N802 - TensorBoard's name
            made.append(Written(folder, purge_step))
            return made[-1]

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", Module)
    return made


class Heard:
    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append(name)


def test_the_numbers_of_an_epoch_are_written_and_passed_on(written, tmp_path):
    other = Heard()
    log = TensorBoard(tmp_path, other)
    log.begin("search", 3, 10, 0, classification)
    log.step(1.0, 0.5)
    log.epoch(LINE)
    log.warn("a word")
    log.end()
    (writer,) = written
    assert writer.scalars == [("train/loss", 0.5, 1), ("indicators/skips", 2, 1)]
    assert (writer.folder, writer.closed) == (str(tmp_path / "search"), True)
    assert other.calls == ["begin", "step", "epoch", "warn", "end"]


def test_after_a_resume_the_epochs_that_come_again_replace_the_old_ones(written, tmp_path):
    TensorBoard(tmp_path).begin("search", 3, 10, 25, classification)
    assert written[0].purge_step == 3


def test_the_command_line_logs_where_the_run_is_and_still_shows_it(written, tmp_path):
    display = Heard()
    log = heard(display, "tensorboard", tmp_path / "run")
    log.begin("search", 1, 2, 0, classification)
    assert written[0].folder == str(tmp_path / "run" / "tensorboard" / "search")
    assert display.calls == ["begin"]
    assert heard(display, None, tmp_path) is display


def test_without_tensorboard_the_error_says_how_to_install_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main(["search", "--out", str(tmp_path / "run"), "--log", "tensorboard"]) == 2
    assert "pip install 'diffnas[logging]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_another_log_is_refused(tmp_path, capsys):
    assert main(["search", "--out", str(tmp_path / "run"), "--log", "tensorbord"]) == 2
    assert "Did you mean 'tensorboard'?" in capsys.readouterr().err


def test_written_numbers_can_be_read_back(tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    log = TensorBoard(tmp_path)
    log.begin("search", 3, 10, 0, classification)
    log.epoch(LINE)
    log.end()
    found = events.EventAccumulator(str(tmp_path / "search")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [(1, 0.5)]
