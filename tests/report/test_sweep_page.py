"""How far the runs of a sweep are, and the page that shows it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from diffnas.cli import main
from diffnas.report.sweep.page import SweepPage
from diffnas.report.sweep.record import EndRecord, read_end, read_sweep, write_end
from diffnas.report.sweep.rows import counts, seconds_left, summary
from diffnas.report.sweep.status import Status, SweepView
from diffnas.report.watch import serving

NAMES = ("done", "running", "stopped", "waiting", "failed")


def test_each_run_is_in_the_state_that_its_files_tell(sweep_folder):
    found = {each.name: each for each in SweepView(sweep_folder).statuses()}
    assert {name: each.state for name, each in found.items()} == {name: name for name in NAMES}
    running = found["running"]
    assert (running.phase, running.epoch, running.epochs, running.live) == ("search", 1, 4, 27)
    assert (running.score, running.said, running.left) == (0.5, "50.00% training accuracy", 6.0)
    assert (found["done"].said, found["done"].left) == ("80.00% test accuracy", None)
    assert found["failed"].reason.startswith("the loss became")


def test_a_run_is_read_again_only_if_its_files_have_changed(sweep_folder, monkeypatch):
    from diffnas.report.sweep import status

    view, read = SweepView(sweep_folder), []
    view.statuses()
    monkeypatch.setattr(status, "read_run", lambda path: read.append(path.name))
    view.statuses()
    version = view.version()
    (sweep_folder / "waiting").mkdir()
    (sweep_folder / "waiting" / "lock").write_text("process 1 on host")
    assert view.version() != version
    assert [each.state for each in view.statuses() if each.name == "waiting"] == ["running"]
    assert read == []


def test_a_damaged_file_is_a_failed_run_and_not_an_end_of_the_table(sweep_folder):
    (sweep_folder / "ended" / "done.json").write_text("{")
    (sweep_folder / "running" / "trace.jsonl").write_text("nonsense\n")
    found = {each.name: each for each in SweepView(sweep_folder).statuses()}
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


def test_the_page_has_every_run_and_reasons_as_text(sweep_folder):
    html = SweepPage(sweep_folder).html("v1")
    assert "1 done, 1 running, 1 stopped, 1 waiting, 1 failed" in html
    assert "the loss became &lt;b&gt;infinite" in html
    assert "search 1/4" in html
    assert "27" in html
    assert "seed (5)" in html
    assert 'data-version="v1"' in html


def test_watch_serves_the_page_of_a_sweep_and_knows_when_it_has_changed(sweep_folder):
    def get(path):
        return opener.open(f"http://127.0.0.1:{server.server_port}{path}", timeout=10).read().decode()

    opener = build_opener(ProxyHandler({}))
    with serving(sweep_folder) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.02)
        try:
            before = get("/version")
            assert f'data-version="{before}"' in get("/")
            write_end(sweep_folder, "waiting", EndRecord(done=False, reason="no disk"))
            assert get("/version") != before
            assert "no disk" in get("/")
        finally:
            server.shutdown()


def test_compare_takes_the_runs_of_a_sweep_that_are_done(sweep_folder, capsys):
    assert main(["compare", str(sweep_folder), "--json"]) == 0
    tables = {table["title"]: table for table in json.loads(capsys.readouterr().out)["tables"]}
    assert [row[0] for row in tables["Runs"]["rows"]] == ["done"]
    write_end(sweep_folder, "done", None)
    (sweep_folder / "done" / "evaluation" / "result.json").unlink()
    assert main(["compare", str(sweep_folder)]) == 2
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
def test_a_record_that_was_changed_or_is_of_another_version_is_refused(sweep_folder, change, words):
    record = json.loads((sweep_folder / "sweep.json").read_text())
    (sweep_folder / "digests.json").unlink()
    (sweep_folder / "sweep.json").write_text(json.dumps(record | change))
    with pytest.raises(ValueError, match=words) as error:
        read_sweep(sweep_folder)
    assert "sweep.json is damaged" in str(error.value)


def test_a_record_that_is_not_what_was_written_is_refused(sweep_folder):
    (sweep_folder / "sweep.json").write_text(
        (sweep_folder / "sweep.json").read_text().replace('"seed": "0"', '"seed": "9"')
    )
    with pytest.raises(ValueError, match="damaged or was changed"):
        read_sweep(sweep_folder)
    assert read_end(Path(sweep_folder), "waiting") is None


def test_a_run_that_found_cells_through_which_nothing_passes_is_told_of(sweep_folder, write_search):
    broken = ("|none~0|+|none~0|nor_conv_3x3~1|", [[0.2] * 5] * 6)
    write_search([broken] * 4, evaluated=True, name="s/waiting")
    write_end(sweep_folder, "waiting", EndRecord(done=True))
    found = {each.name: each for each in SweepView(sweep_folder).statuses()}
    assert (found["waiting"].state, found["done"].reason) == ("done", "")
    assert found["waiting"].reason == "normal cell: no path leads from an input to the output."
    assert found["waiting"].reason in SweepPage(sweep_folder).html("1")
