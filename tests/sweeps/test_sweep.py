"""``diffnas sweep``: what a grid becomes, what is refused, and real processes that fail, stop and go on."""

import json
import signal
import subprocess
import sys
import time

import pytest
import typer.main
from interrupted import assert_same

import diffnas
from diffnas.cli import app, main
from diffnas.engine.lock import owning
from diffnas.report.sweep.record import EndRecord, is_sweep, read_end, read_sweep
from diffnas.sweeps import one, planning
from diffnas.sweeps.workers import Processes, ending

SIZES = ["channels=4", "depth=3"]
SMALL = ["--spaces", "nas-bench-201", "--train", "60", "--epochs", "1", "--evaluate-epochs", "1"]
SMALL += [f"--set={phase}.{size}" for phase in ("search", "evaluate") for size in SIZES]

# Of each two runs, the second cannot end well.
WILD = ["--set", "search.lr=0.025,1e30", "--set", "search.clip=0", "--set", "search.batch=10"]


def alone(folder, *words):
    """The folder of a run by itself."""
    assert main(["run", "--space", *SMALL[1:], *words, "--out", str(folder), "--quiet"]) == 0
    return folder


def assert_same_run(first, second):
    assert_same(first, second)
    assert_same(first / "evaluation", second / "evaluation")


@pytest.fixture
def planned(tmp_path):
    """Writes the folder of a sweep, of which no run has begun, and returns its record."""

    def plan(*words):
        assert main(["sweep", *words, "--plan", "--out", str(tmp_path / "s")]) == 0
        return read_sweep(tmp_path / "s")

    return plan


def test_every_cell_of_the_grid_is_a_run_with_its_own_values(planned):
    cells = planned(
        "--methods", "sparse,darts", "--seeds", "0:3", *SMALL, "--set", "search.lr=0.1,0.2", "--no-flip"
    ).cells
    assert len(cells) == 12
    cell = cells["darts-lr0.2-seed2"]
    assert cell.values["method"] == "darts"
    assert cell.options == {
        "method": "darts",
        "seed": 2,
        "space": "nas-bench-201",
        "train": 60,
        "flip": False,
        "threads": 1,
        "check_memory": True,
        "search_settings": {"channels": "4", "depth": "3", "epochs": 1, "lr": "0.2"},
        "evaluate_settings": {"channels": "4", "depth": "3", "epochs": 1},
    }
    assert cell.memory > planning.PROCESS


def test_options_whose_values_have_commas_are_repeated_for_a_list(planned):
    given = ["--target", "macs=1M,params<=1M", "--target", "macs=2M", "--stopping", "none"]
    cells = planned(*SMALL, *given).cells
    assert [cell.options["target"] for cell in cells.values()] == ["macs=1M,params<=1M", "macs=2M"]
    assert {json.dumps(cell.options["components"]) for cell in cells.values()} == {'{"stopping": "none"}'}


def test_a_file_has_the_words_of_the_command_line_which_come_before_it(tmp_path, planned):
    (tmp_path / "grid.toml").write_text(
        'data = "digits"\nmethods = ["sparse", "darts"]\nseeds = "0:2"\nspaces = "nas-bench-201"\ntrain = 60\n'
        'epochs = 5\nevaluate_epochs = 1\nflip = false\nset = ["search.channels=4", "search.depth=3"]\nvote = true\n'
    )
    record = planned(str(tmp_path / "grid.toml"), "--epochs", "1,2")
    assert len(record.cells) == 8
    assert record.vote
    options = record.cells["darts-epochs2-seed1"].options
    assert options["search_settings"] == {"channels": "4", "depth": "3", "epochs": 2}
    assert (options["data"], options["flip"], options["evaluate_settings"]) == ("digits", False, {"epochs": 1})


def test_a_run_keeps_the_threads_that_its_share_of_the_cores_gives_it(planned, monkeypatch):
    monkeypatch.setattr(planning, "cores", lambda: 8)
    two = planned(*SMALL, "--recipe", "published", "--seeds", "0:2")
    assert {cell.options["threads"] for cell in two.cells.values()} == {4}


def test_as_many_processes_begin_as_cores_and_memory_hold(tmp_path, planned, monkeypatch):
    (cell,) = planned(*SMALL).cells.values()
    monkeypatch.setattr("diffnas.sweeps.workers.cores", lambda: 2)
    monkeypatch.setattr("diffnas.sweeps.workers.free_memory", lambda: 5 * cell.memory)
    busy = {"a": (None, cell), "b": (None, cell)}
    workers = Processes(tmp_path, None)
    assert workers.has_room(cell)
    workers.running = dict(list(busy.items())[:1])
    assert workers.has_room(cell)
    workers.running = busy
    assert not workers.has_room(cell)  # there are two cores
    assert not workers.has_room(cell.model_copy(update={"memory": 9 * cell.memory}))
    on_gpu = cell.model_copy(update={"gpu_memory": 2})
    workers.running, workers.gpu_free = {"a": (None, on_gpu)}, 3
    assert not workers.has_room(on_gpu)
    assert workers.has_room(cell)
    many = Processes(tmp_path, 3)
    many.running = busy
    assert many.has_room(cell)  # who names a number shares cores
    assert not many.has_room(cell.model_copy(update={"memory": 4 * cell.memory}))


WRONG = [
    (["--methods", "sparse,sparze"], ["sparze", "Did you mean 'sparse'"]),
    (["--epochs", "1,many"], ["--epochs", "integer", "See: diffnas sweep --help"]),
    (["--seeds", "5:5"], ["--seed 5:5 is empty"]),
    (["--seeds", "1,1"], ["seed has '1' twice"]),
    (["--set", "search.momentun=1"], ["momentun", "Did you mean 'momentum'"]),
    (["--set", "evaluate.epochs=1,0"], ["epochs", "from 1 to"]),
    (["--sedes", "1"], ["--sedes", "Did you mean --seeds?", "diffnas sweep --help"]),
    (["--data-dir", ""], ["data"]),
    (["nowhere"], ["'nowhere'"]),
    (["grid.toml"], ["no file 'grid.toml'"]),
    (["bad.toml"], ["bad.toml is not TOML"]),
    (["odd.toml"], ["odd.toml: epochs must be text, a number, true, false, or a list"]),
    (["unknown.toml"], ["--frob"]),
    (["--at-once", "0"], ["at_once must be a whole number from 1 to"]),
    (["--retries", "-1"], ["retries must be a whole number from 0"]),
    (["--gpus-per-run", "1"], ["--address local"]),
    (["--address", "auto", "--at-once", "2"], ["at_once", "cpus_per_run"]),
    (["--resume", "gone"], ["gone is not the folder of a sweep"]),
    (["--resume", "gone", "--seeds", "1"], ["its own grid"]),
    (["--against", "random:0"], ["random"]),
]


@pytest.mark.parametrize(("words", "parts"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_grid_gives_one_line_before_any_run_begins_and_touches_nothing(
    words, parts, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("epochs = = 1")
    (tmp_path / "odd.toml").write_text("[epochs]\na = 1")
    (tmp_path / "unknown.toml").write_text("frob = 1")
    before = sorted(tmp_path.rglob("*"))
    assert main(["sweep", *words]) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert [part for part in parts if part not in line] == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys, planned):
    planned(*SMALL)
    assert main(["sweep", *SMALL, "--out", str(tmp_path / "s")]) == 2
    assert "--resume" in capsys.readouterr().err
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("dear")
    assert main(["sweep", *SMALL, "--out", str(tmp_path / "letters")]) == 2
    assert not is_sweep(tmp_path / "letters")


def test_python_names_objects_that_no_process_could_get(tmp_path):
    with pytest.raises(ValueError, match="process of its own, so method must be text"):
        diffnas.sweep(out=tmp_path / "s", methods=[diffnas.METHODS["darts"]])
    assert not (tmp_path / "s").exists()


def test_one_run_of_a_sweep_is_what_it_is_alone_and_a_failed_one_keeps_its_reason(tmp_path, planned, capsys):
    planned(*SMALL, "--method", "darts", "--seeds", "0:2", *WILD)
    folder = tmp_path / "s"
    assert main(["sweep", "--resume", str(folder), "--only", "1", "--quiet"]) == 0  # lr 0.025, seed 1
    assert read_end(folder, "darts-lr0.025-seed1") == EndRecord(done=True)
    lr = ["--set", "search.lr=0.025", "--set", "search.clip=0", "--set", "search.batch=10"]
    lone = alone(tmp_path / "alone", "--method", "darts", "--seed", "1", *lr)
    assert_same_run(lone, folder / "darts-lr0.025-seed1")
    assert main(["sweep", "--resume", str(folder), "--only", "darts-lr1e30-seed0", "--quiet"]) == 1
    end = read_end(folder, "darts-lr1e30-seed0")
    assert end is not None
    assert "the loss became" in end.reason
    assert ending(folder, "darts-lr1e30-seed0", 1).reason == end.reason
    assert main(["sweep", "--resume", str(folder), "--only", "9"]) == 2
    assert "from 0 to 3" in capsys.readouterr().err


def test_a_run_waits_until_a_process_of_a_dead_driver_lets_go(tmp_path, monkeypatch):
    monkeypatch.setattr(one, "PATIENCE", 0.3)
    with owning(tmp_path, print):
        begun = time.monotonic()
        one._wait_for(tmp_path)
        assert time.monotonic() - begun >= 0.3
    begun = time.monotonic()
    one._wait_for(tmp_path)
    assert time.monotonic() - begun < 0.2


def test_a_process_ends_with_its_driver_even_if_that_is_killed():
    code = (
        "import signal, time, diffnas.sweeps.one as one\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with one.tied():\n    print('ready', flush=True)\n    time.sleep(60)"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=30) in (1, -signal.SIGINT)


def command(*words):
    return [sys.executable, "-m", "diffnas", "sweep", *words]


def test_processes_do_all_runs_though_one_fails_and_compare_and_vote_at_the_end(tmp_path, capsys):
    words = [*SMALL, "--methods", "darts", "--seeds", "0:2", *WILD]
    options = ["--out", str(tmp_path / "s"), "--retries", "0", "--vote", "--json"]
    assert main(["sweep", *words, *options]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in told["runs"]] == ["done", "done", "failed", "failed"]
    assert "the loss became" in told["runs"][3]["reason"]
    assert [table["title"] for table in told["tables"]] == ["Methods", "Differences"]
    (vote,) = told["votes"]
    assert diffnas.read(vote["file"]).skeleton == "nas-bench-201"
    assert main(["compare", str(tmp_path / "s")]) == 0
    assert "darts-lr0.025-seed1" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_sweep_whose_driver_is_ended_goes_on_and_is_what_its_runs_are_alone(number, tmp_path):
    longer = ["--set", "search.batch=4", "--method", "sparse"]
    folder = tmp_path / "s"
    options = ["--seeds", "0:3", "--at-once", "2", "--out", str(folder)]
    driver = subprocess.Popen(command(*SMALL, *longer, *options), stderr=subprocess.PIPE, text=True)
    traces = [folder / f"sparse-seed{seed}" / "lock" for seed in (0, 1)]
    until = time.monotonic() + 120
    while not all(path.exists() for path in traces) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1)
    driver.send_signal(number)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == (-number if number == signal.SIGKILL else 128 + number), told
    assert subprocess.run(command("--resume", str(folder)), check=False, timeout=300).returncode == 0
    for seed in range(3):
        assert_same_run(alone(tmp_path / f"alone{seed}", *longer, "--seed", str(seed)), folder / f"sparse-seed{seed}")


def test_a_sweep_takes_every_option_of_a_run():
    commands = typer.main.get_command(app).commands
    options = {name: {word for each in commands[name].params for word in each.opts} for name in ("run", "sweep")}
    assert options["run"] - options["sweep"] == {"--log"}
    assert {"--methods", "--seeds", "--spaces"} <= options["sweep"]
