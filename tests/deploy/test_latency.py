import json
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import nn

from diffnas import SearchSpace
from diffnas.cli import main
from diffnas.components import discretize
from diffnas.deploy import latency as module
from diffnas.deploy import runtimes
from diffnas.deploy.latency import Table, doubts, extended, known_table, recorded_latency, sums, timed_latency
from diffnas.deploy.timing import Timed
from diffnas.engine.aim import Aim, check
from diffnas.engine.costing import COUNTED, Reach
from diffnas.engine.scaling import land
from diffnas.engine.search import search
from diffnas.engine.settings import SearchSettings
from diffnas.engine.target import Target, parse
from diffnas.genotype import read
from diffnas.method import METHODS
from diffnas.nets.network import Network
from diffnas.nets.ops import count_macs
from diffnas.nets.sized import Size, SizedSpace
from diffnas.nets.slot import Slot
from diffnas.space import nas_bench_201

SMALL = SizedSpace(space=nas_bench_201, picture=(1, 8, 8), classes=10, size=Size(8, 5))
PER_MAC = 1e-9


class Told(list):
    """A meter that takes a fixed time for every multiply-add, and notes what it was asked."""

    def __call__(self, modules: Mapping[str, tuple[nn.Module, tuple[int, ...]]]) -> dict[str, Timed]:
        self.append(list(modules))
        took = {name: PER_MAC * count_macs(net, shape) + 1e-5 for name, (net, shape) in modules.items()}
        return {name: Timed(seconds=seconds, median=seconds, busy=False) for name, seconds in took.items()}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def told_latency(sized: SizedSpace = SMALL, meter: Told | None = None):
    said: list[str] = []
    found = timed_latency(sized, known_table("torch"), meter if meter is not None else Told(), said.append)
    return found, said


def test_every_operation_is_timed_once_in_each_place_and_kept(tmp_path):
    meter = Told()
    told_latency(meter=meter)
    # Three stages, of three operations each; skips and nothing are free, and the rest are whole networks.
    assert len(meter[0]) == 9
    assert all(names == ["network"] for names in meter[1:])
    again = Told()
    told_latency(meter=again)
    assert all(names == ["network"] for names in again)
    assert len(list((tmp_path / "cache" / "diffnas" / "latency").iterdir())) == 1


def test_a_cache_that_is_damaged_or_of_another_machine_is_not_believed(monkeypatch):
    told_latency()
    (kept,) = module.cache_folder().iterdir()
    text = kept.read_text()
    for damaged in ("{", '{"seconds": 3}', text.replace("1e-05", "-1.0"), text.replace('"threads": 1', '"threads": 2')):
        kept.write_text(damaged)
        assert known_table("torch").seconds == {} or damaged == text
    kept.write_text(text)
    assert known_table("torch").seconds
    monkeypatch.setattr(module, "machine", lambda: "another")
    assert known_table("torch").seconds == {}


def test_permuted_operations_have_permuted_costs():
    table = extended(known_table("torch"), SMALL, Told())
    ops = tuple(reversed(nas_bench_201.ops))
    cells = {"normal": replace(nas_bench_201.cells["normal"], ops=(ops,) * 6)}
    other = replace(SMALL, space=replace(nas_bench_201, ops=ops, cells=cells))
    assert torch.equal(sums(table, SMALL).ops.flip(1), sums(table, other).ops)


def test_an_operation_that_is_slow_here_leaves_the_cells(data):
    method = replace(METHODS["darts"], settings={})
    found, _ = told_latency()
    slow = {name: (10 if "1x1" in name else 1) * took for name, took in found.table.seconds.items()}
    found.table = found.table.model_copy(update={"seconds": slow})
    low, high = Reach(found, SMALL, method.discretize).interval(torch.tensor(nas_bench_201.offered))
    target = Target(cost="latency", value=low + 0.3 * (high - low), ceiling=True)
    aim = Aim(targets=(target,), size=SMALL.size, costings={"latency": found})
    settings = SearchSettings(epochs=4, batch=20, channels=4, depth=3, alpha_lr=0.3)
    result = search(data, space=nas_bench_201, method=method, settings=settings, aim=aim, device="cpu")
    assert all(cell.count("nor_conv_1x1") == 0 for cell in result.genotype.cells.values())


def test_networks_are_predicted_by_a_line_and_measured_where_it_counts():
    found, _ = told_latency()
    cells = module.random_cells(SMALL, 3)
    for each in cells:
        assert found.of(SMALL, each) == pytest.approx(found.exact(SMALL, each), rel=0.2)
    wider = replace(SMALL, size=Size(16, 5))
    assert found.of(wider, cells[0]) == found.exact(wider, cells[0])


def test_a_latency_is_measured_at_a_few_widths_and_then_at_a_few_depths():
    meter = Told()
    found, _ = told_latency(meter=meter)
    (cells,) = module.random_cells(SMALL, 1)
    before = len(meter)
    target = Target(cost="latency", value=1.3 * found.exact(SMALL, cells))
    landed = land(Aim(targets=(target,), size=SMALL.size, costings={"latency": found}), SMALL, cells)
    assert len(meter) - before <= 7
    assert landed.size.channels > 8
    assert landed.distance < 0.3


SLOW = Timed(seconds=1.0, median=1.0, busy=False)


class Blocked(Told):
    """A meter for a runtime that is slow unless the channels are a multiple of 8."""

    def __call__(self, modules: Mapping[str, tuple[nn.Module, tuple[int, ...]]]) -> dict[str, Timed]:
        took = super().__call__(modules)
        first = {name: next(net.parameters(), torch.empty(8)) for name, (net, _) in modules.items()}
        return {name: each if len(first[name]) % 8 == 0 else SLOW for name, each in took.items()}


def test_a_latency_that_no_other_width_has_is_met_by_the_depth():
    found, _ = told_latency(meter=Blocked())
    (cells,) = module.random_cells(SMALL, 1)
    target = Target(cost="latency", value=found.exact(replace(SMALL, size=Size(8, 8)), cells))
    landed = land(Aim(targets=(target,), size=SMALL.size, costings={"latency": found}), SMALL, cells)
    assert landed.met
    assert landed.size == Size(8, 8)


def test_a_latency_that_no_network_has_is_refused_with_what_there_is(data):
    found, _ = told_latency()
    aim = Aim(targets=parse("latency=1us"), size=SMALL.size, costings={**COUNTED, "latency": found})
    with pytest.raises(ValueError, match=r"the smallest network of space 'nas-bench-201' .* us of latency"):
        check(aim, nas_bench_201, data, METHODS["darts"])


def test_a_run_goes_on_with_the_latencies_that_it_began_with_and_on_the_same_machine_only(monkeypatch):
    found, _ = told_latency()
    record = json.loads(json.dumps(found.record()))
    again = recorded_latency(record, SMALL, print)
    assert again.table == found.table
    assert again.record() == found.record()
    for damaged in (
        None,
        {},
        {**record, "table": {}},
        {**record, "line": {"slope": -1.0, "offset": 0.0, "error": 0.0}},
    ):
        with pytest.raises(ValueError, match="damaged"):
            recorded_latency(damaged, SMALL, print)
    monkeypatch.setattr(module, "machine", lambda: "another")
    with pytest.raises(ValueError, match="measured on another machine"):
        recorded_latency(record, SMALL, print)


def test_times_that_cannot_be_are_doubted():
    table = Table(runtime="torch", version="2", machine="m", diffnas="0")
    seconds = {"sep_conv_3x3 8 1 8x8": 2.0, "sep_conv_5x5 8 1 8x8": 1.0, "sep_conv_3x3 8 2 8x8": 1.0}
    (said,) = doubts(table.model_copy(update={"seconds": seconds}))
    assert "time again on a quiet machine" in said


def test_a_users_own_operations_are_timed_anew_and_not_kept():
    def conv(slot: Slot) -> nn.Module:
        return nn.Conv2d(slot.width, slot.width, 1, stride=slot.stride)

    cells = {"normal": replace(nas_bench_201.cells["normal"], ops=(("skip_connect", "mine"),) * 6)}
    space: SearchSpace = replace(nas_bench_201, ops=("skip_connect", "mine"), cells=cells, factories={"mine": conv})
    sized = replace(SMALL, space=space)
    for _ in range(2):
        meter = Told()
        table = extended(known_table("torch"), sized, meter)
        assert len(meter[0]) == 3
        assert len(table.seconds) == 3
    assert known_table("torch").seconds == {}


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_a_runtime_runs_operations_and_networks(runtime: str):
    if runtime == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        pytest.importorskip("onnx", reason="onnx is not installed")
    (cells,) = module.random_cells(SMALL, 1)
    run = runtimes.RUNTIMES[runtime]
    run(nn.Conv2d(4, 4, 3), (4, 8, 8))()
    run(SMALL.network(cells), SMALL.picture)()
    keep = torch.tensor(nas_bench_201.offered)
    nothing = discretize.winners(torch.eye(5, dtype=torch.float64)[[0] * 6], keep, nas_bench_201)
    run(SMALL.network(nothing), SMALL.picture)()


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_a_runtime_runs_transformers_of_pictures_and_of_tokens(runtime: str):
    if runtime == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        pytest.importorskip("onnx", reason="onnx is not installed")
    genotype = read("transformer | window_4 | mlp_1 | attn_2 | none")
    run = runtimes.RUNTIMES[runtime]
    run(Network(genotype, classes=2, in_channels=1, channels=8, picture=(8, 8)).eval(), (1, 8, 8))()
    run(Network(genotype, classes=2, in_channels=2, channels=8, picture=(20,), tokens=True).eval(), (20,))()


def test_an_unknown_or_missing_runtime_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="unknown runtime 'tflite'"):
        runtimes.runtime_named("tflite")
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert runtimes.runtime_named(None) == "torch"
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install"):
        runtimes.with_onnxruntime(nn.Identity(), (1, 1, 1))


def test_the_processor_has_a_name(tmp_path):
    assert runtimes.machine()
    info = tmp_path / "cpuinfo"
    info.write_text("vendor_id : X\nmodel name\t: Fast 3000\n")
    assert runtimes._processor(info) == "Fast 3000"
    assert runtimes._processor(tmp_path / "none") == ""


def test_the_command_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(module, "meter", lambda runtime, warn: Told())
    asked = ["latency", "nas-bench-201", "--runtime", "torch", "--channels", "8", "--depth", "5", "--side", "8"]
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert "nor_conv_3x3 8 1 8x8" in printed
    assert "whole networks" in printed
    assert main([*asked, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)["latency"]
    assert record["table"]["runtime"] == "torch"
    assert len(record["networks"]) == 12
    assert not math.isnan(record["line"]["slope"])
    assert main(["latency", "nas-bench-201", "--runtime", "tflite"]) == 2
    assert main(["latency", "nas-bench-201", "--side", "0"]) == 2
    assert main(["latency", "nowhere"]) == 2


def test_a_network_that_was_measured_late_draws_the_line_nearer_and_counts_twice():
    found, _ = told_latency()
    cells = module.random_cells(SMALL, 40)[-1]
    key = f"{SMALL.size} {cells!r}"
    assert key not in found.known
    # A network that the line does not foresee: it takes a tenth longer.
    found.measure = lambda modules: {"network": Timed(seconds=1.1 * found.of(SMALL, cells), median=1.0, busy=False)}
    again = found.learned(SMALL, cells)
    assert len(again.points) == len(found.points) + 2
    before, after = (abs(each.of(SMALL, cells) / again.exact(SMALL, cells) - 1) for each in (found, again))
    assert after < before
    assert again.learned(SMALL, cells) is again
    # It comes back from a record, as plain data.
    recalled = found.recalled(json.loads(json.dumps(again.record())))
    assert recalled.points == again.points
    assert recalled.drawn[:2] == again.drawn[:2]
    assert recorded_latency(json.loads(json.dumps(again.record())), SMALL, print).record() == again.record()


def test_latencies_of_runs_of_before_know_no_networks_and_learn_none():
    record = told_latency()[0].record()
    del record["points"]
    found = recorded_latency(record, SMALL, print)
    assert found.record() == record
    assert found.learned(SMALL, module.random_cells(SMALL, 40)[-1]) is found
