"""The pieces of ``experiments/theory`` that its conclusions rest on."""

import doctest
import importlib
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from scipy import stats as scipy_stats

FOLDER = Path(__file__).parent.parent / "experiments" / "theory"
NAMES = ("cells", "stats", "train", "e1", "e2", "e3", "e4", "e5")


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


@pytest.mark.parametrize("name", ["cells", "stats"])
def test_the_examples_of_a_script_run(scripts: dict[str, ModuleType], name: str) -> None:
    done = doctest.testmod(scripts[name])
    assert done.attempted > 0
    assert done.failed == 0


def test_the_rate_is_the_formula_written_out_for_four_nodes(scripts: dict[str, ModuleType]) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(6, 2, generator=generator).tolist()
    gates = {edge: {"skip": a, "conv": b} for edge, (a, b) in zip(scripts["cells"].dense(4), drawn, strict=True)}

    def a2(s: int, t: int) -> float:
        return gates[s, t]["skip"]

    def a3(s: int, t: int) -> float:
        return gates[s, t]["conv"]

    inputs = a3(0, 3) ** 2 + (a3(1, 3) * a2(0, 1)) ** 2 + (a3(2, 3) * a2(0, 2) * a2(1, 2)) ** 2
    chain = a3(0, 3) ** 2 + (a3(1, 3) * a2(0, 1)) ** 2 + (a3(2, 3) * a2(0, 1) * a2(1, 2)) ** 2
    assert scripts["cells"].rate(gates, 4, "inputs") == pytest.approx(inputs)
    assert scripts["cells"].rate(gates, 4, "chain") == pytest.approx(chain)


@pytest.mark.parametrize(("setting", "side"), [("analyzed", 2), ("practical", 1)])
def test_a_cell_is_the_sum_written_out(scripts: dict[str, ModuleType], setting: str, side: int) -> None:
    cells = scripts["cells"]
    gates = {(0, 1): {"skip": 0.3, "conv": 0.5}, (0, 2): {"conv": 0.2}, (1, 2): {"pool": 0.7, "conv": 0.0}}
    net = cells.GatedCell(gates, 3, channels=4, setting=cells.SETTINGS[setting], seed=1)
    assert sorted(net.ops) == ["conv-0-1", "conv-0-2", "pool-1-2", "skip-0-1"]
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    zero = net.stem(x)
    one = 0.3 * zero + 0.5 * net.ops["conv-0-1"](zero)
    two = 0.2 * net.ops["conv-0-2"](zero) + 0.7 * net.ops["pool-1-2"](one)
    pooled = torch.nn.functional.avg_pool2d(torch.cat([one, two], dim=1), 8 // side).flatten(1)
    torch.testing.assert_close(net.features(x), pooled)
    torch.testing.assert_close(net(x), net.readout(pooled))


def test_cells_of_a_seed_share_the_weights_of_the_operations_they_share(scripts: dict[str, ModuleType]) -> None:
    cells = scripts["cells"]

    def made(gates: dict[tuple[int, int], dict[str, float]], seed: int) -> torch.Tensor:
        net = cells.GatedCell(gates, 3, channels=4, setting=cells.SETTINGS["analyzed"], seed=seed)
        weight: torch.Tensor = net.ops["conv-1-2"].weight
        return weight

    one = made({(0, 1): {"skip": 1.0}, (1, 2): {"conv": 0.5}}, 3)
    other = made({(0, 1): {"conv": 0.9}, (0, 2): {"conv": 0.1}, (1, 2): {"conv": 0.1}}, 3)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.equal(one, made({(1, 2): {"conv": 0.5}}, 4))


def test_convolutions_of_the_analyzed_setting_keep_the_size_of_their_input(scripts: dict[str, ModuleType]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = scripts["cells"].GaussianConv(64, 512)
        out = conv(torch.randn(8, 64, 12, 12))
    assert float(out.detach()[:, :, 1:-1, 1:-1].square().mean()) == pytest.approx(1, abs=0.05)


def test_the_halves_of_e2_are_equally_many_edges_and_its_cells_have_the_same_weights_in_all(
    scripts: dict[str, ModuleType],
) -> None:
    totals = {}
    for arm in scripts["e2"].arms():
        if arm.about["shared"] != arm.about["last"]:
            totals[arm.name] = tuple(round(sum(w[op] for w in arm.gates.values()), 9) for op in ("skip", "conv"))
    assert len(totals) == 4
    for strength in scripts["e2"].STRENGTHS:
        assert totals[f"skip-conv-{strength}"] == totals[f"conv-skip-{strength}"]


def test_the_cells_of_e3_have_the_depth_they_are_named_after(scripts: dict[str, ModuleType]) -> None:
    for depth, parents in scripts["e3"].PARENTS.items():
        reached = [0]
        for parent in parents:
            reached.append(reached[parent] + 1)
        assert max(reached) == depth


def test_every_cell_of_a_search_has_a_name_of_its_own(scripts: dict[str, ModuleType]) -> None:
    for name in ("e1", "e2", "e3", "e4"):
        names = [arm.name for arm in scripts[name].arms()]
        assert len(set(names)) == len(names)
        for arm in scripts[name].arms():
            assert all(0 <= sum(ops.values()) <= 1 + 1e-6 for ops in arm.gates.values())


def test_the_correlation_of_ranks_is_that_of_scipy(scripts: dict[str, ModuleType]) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        a, b = torch.randint(6, (2, 15), generator=generator).tolist()
        expected = scipy_stats.spearmanr(a, b).statistic
        assert scripts["stats"].spearman(a, b) == pytest.approx(expected)


def test_the_losses_of_steps_come_back_from_the_means_of_an_epoch(scripts: dict[str, ModuleType]) -> None:
    losses, heard = [3.0, 2.0, 4.0, 1.0], scripts["e5"].StepLosses()
    for epoch in (losses[:2], losses[2:]):
        for count, total in enumerate(itertools.accumulate(epoch), start=1):
            heard.step(total / count, 0.0)
        heard.epoch({})
    assert heard.losses == pytest.approx(losses)


def test_an_interrupted_experiment_goes_on_with_what_is_missing(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, done = scripts["train"], []
    given = train.parser("about", [0, 1]).parse_args(["--data", "nowhere", "--out", str(tmp_path)])

    def job(data: None, seed: int) -> dict[str, object]:
        done.append(seed)
        if len(done) == 2:
            raise KeyboardInterrupt
        return {"arm": "a", "setting": "s", "seed": seed}

    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    with pytest.raises(KeyboardInterrupt):
        train.each(given, "trace.jsonl", {("a", "s"): job}, lambda folder, seed: None)
    lines = train.each(given, "trace.jsonl", {("a", "s"): job}, lambda folder, seed: None)
    assert [line["seed"] for line in lines] == [0, 1]
    assert done == [0, 1, 1]


def test_a_curve_that_left_the_numbers_has_no_slope(scripts: dict[str, ModuleType]) -> None:
    assert math.isnan(scripts["stats"].slope({"steps": [0, 10], "loss": [1.0, 0.5], "diverged": True}))
