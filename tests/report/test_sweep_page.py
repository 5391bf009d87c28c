"""How far the runs of a sweep are, and the page that shows it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from diffnas.cli import main
from diffnas.report.sweep.page import SweepPage
from diffnas.report.sweep.record import (
    CellRecord,
    EndRecord,
    SweepRecord,
    read_end,
    read_sweep,
    write_end,
    write_sweep,
)
from diffnas.report.sweep.rows import counts, seconds_left, summary
from diffnas.report.sweep.status import Status, SweepView
from diffnas.report.watch import serving

CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
EPOCHS = [(CONV, [[0.2] * 5] * 6)]
NAMES = ("done", "running", "stopped", "waiting", "failed")


@pytest.fixture
def sweep(write_search, tmp_path):
    """The folder of a sweep with a run in each state."""
    place = tmp_path / "s"
    cells = {name: CellRecord(values={"seed": str(k)}, options={}, memory=0) for k, name in enumerate(NAMES)}
    write_sweep(place, SweepRecord(cells=cells))
    indicators = {"live_ops": 27}
    for name in ("running", "stopped", "failed"):
        write_search(EPOCHS, planned=4, finished=False, indicators=indicators, name=f"s/{name}")
    write_search(EPOCHS * 4, evaluated=True, indicators=indicators, name="s/done")
    (place / "running" / "lock").write_text("process 1 on host")
    write_end(place, "done", EndRecord(done=True))
    write_end(place, "failed", EndRecord(done=False, reason="the loss became <b>infinite</b>."))
    return place


def test_each_run_is_in_the_state_that_its_files_tell(sweep):
    found = {each.name: each for each in SweepView(sweep).statuses()}
    assert {name: each.state for name, each in found.items()} == {name: name for name in NAMES}
    running = found["running"]
    assert (running.phase, running.epoch, running.epochs, running.live) == ("search", 1, 4, 27)
    assert (running.accuracy, running.pictures, running.left) == (0.5, "training", 6.0)
    assert (found["done"].pictures, found["done"].left) == ("test", None)
    assert found["failed"].reason.startswith("the loss became")


def test_a_run_is_read_again_only_if_its_files_have_changed(sweep, monkeypatch):
    from diffnas.report.sweep import status

    view, read = SweepView(sweep), []
    view.statuses()
    monkeypatch.setattr(status, "read_run", lambda path: read.append(path.name))
    view.statuses()
    version = view.version()
    (sweep / "waiting").mkdir()
    (sweep / "waiting" / "lock").write_text("process 1 on host")
    assert view.version() != version
    assert [each.state for each in view.statuses() if each.name == "waiting"] == ["running"]
    assert read == []


def test_a_damaged_file_is_a_failed_run_and_not_an_end_of_the_table(sweep):
    (sweep / "ended" / "done.json").write_text("{")
    (sweep / "running" / "trace.jsonl").write_text("nonsense\n")
    found = {each.name: each for each in SweepView(sweep).statuses()}
    assert found["done"].state == "failed"
    assert "done.json is damaged" in found["done"].reason
    assert found["running"].state == "running"


def test_the_time_left_is_that_of_all_runs_shared_by_those_that_go_on_at_once():
    def run(state, **more):
        return Status(name="r", values={}, state=state, **more)

    going = [run("running", left=10.0), run("running", left=30.0)]
    assert seconds_left(going) == 30.0
    assert seconds_left([*going, *[run("waiting")] * 4]) is None
    assert seconds_left([*going, *[run("waiting")] * 4, run("done", seconds=20.0)]) == 60.0
    assert seconds_left([run("done", seconds=20.0)]) is None
    assert summary(going) == "2 running; about 30.0 s left"
    assert counts(going) == {"running": 2}


def test_the_page_has_every_run_and_reasons_as_text(sweep):
    html = SweepPage(sweep).html("v1")
    assert "1 done, 1 running, 1 stopped, 1 waiting, 1 failed" in html
    assert "the loss became &lt;b&gt;infinite" in html
    assert "search 1/4" in html
    assert "27" in html
    assert "seed (5)" in html
    assert 'data-version="v1"' in html


def test_watch_serves_the_page_of_a_sweep_and_knows_when_it_has_changed(sweep):
    def get(path):
        return opener.open(f"http://127.0.0.1:{server.server_port}{path}", timeout=10).read().decode()

    opener = build_opener(ProxyHandler({}))
    with serving(sweep) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.02)
        try:
            before = get("/version")
            assert f'data-version="{before}"' in get("/")
            write_end(sweep, "waiting", EndRecord(done=False, reason="no disk"))
            assert get("/version") != before
            assert "no disk" in get("/")
        finally:
            server.shutdown()


def test_compare_takes_the_runs_of_a_sweep_that_are_done(sweep, capsys):
    assert main(["compare", str(sweep), "--json"]) == 0
    tables = {table["title"]: table for table in json.loads(capsys.readouterr().out)["tables"]}
    assert [row[0] for row in tables["Runs"]["rows"]] == ["done"]
    write_end(sweep, "done", None)
    (sweep / "done" / "evaluation" / "result.json").unlink()
    assert main(["compare", str(sweep)]) == 2
    assert "no run of the sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version"),
        ({"cells": {}}, "cells"),
        ({"cells": {"../x": {"values": {}, "options": {}, "memory": 0}}}, "is not the name of a run folder"),
        ({"cells": {"..": {"values": {}, "options": {}, "memory": 0}}}, "is not the name of a run folder"),
        ({"cells": {"a": {"values": {}, "options": {}, "memory": -1}}}, "memory"),
        ({"more": 1}, "more"),
    ],
)
def test_a_record_that_was_changed_or_is_of_another_version_is_refused(sweep, change, words):
    record = json.loads((sweep / "sweep.json").read_text())
    (sweep / "digests.json").unlink()
    (sweep / "sweep.json").write_text(json.dumps(record | change))
    with pytest.raises(ValueError, match=words) as error:
        read_sweep(sweep)
    assert "sweep.json is damaged" in str(error.value)


def test_a_record_that_is_not_what_was_written_is_refused(sweep):
    (sweep / "sweep.json").write_text((sweep / "sweep.json").read_text().replace('"seed": "0"', '"seed": "9"'))
    with pytest.raises(ValueError, match="damaged or was changed"):
        read_sweep(sweep)
    assert read_end(Path(sweep), "waiting") is None
