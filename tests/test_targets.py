"""Targets from the command line and from Python: what is asked, what is left, and how a run ends."""

import json
from functools import partial

import pytest

import diffnas
from diffnas.api.whole_run import plan_run
from diffnas.cli import main
from diffnas.cli.phases import MISSED
from diffnas.nets.frames.chain import Chain

BENCH = ["--space", "nas-bench-201", "--train", "100"]
TINY = [*BENCH, "--channels", "4", "--depth", "3", "--epochs", "1", "--method", "darts", "--recipe", "digits"]
TINY_RUN = [*BENCH, "--method", "darts", "--set=search.channels=4", "--set=search.depth=3", "--epochs", "1"]
TINY_RUN += ["--evaluate-epochs", "1"]


def read(path):
    return json.loads(path.read_text())


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    """A search that has landed."""
    out = tmp_path_factory.mktemp("targets") / "run"
    assert main(["search", "digits", *TINY, "--target", "macs=700k", "--out", str(out), "--quiet"]) == 0
    return out


def test_a_search_says_where_it_landed(landed, capsys):
    record = read(landed / "landing.json")
    assert record["met"]
    assert record["text"].startswith("landed: ")
    assert abs(record["costs"]["macs"] / 700e3 - 1) <= 0.05


def test_an_evaluation_takes_the_size_that_landed_unless_told_otherwise(landed, tmp_path):
    size = read(landed / "landing.json")["size"]
    result = diffnas.evaluate(landed, out=tmp_path / "a", epochs=1)
    settings = read(tmp_path / "a" / "run.json")["settings"]
    assert {name: settings[name] for name in size} == size
    assert result.macs == read(landed / "landing.json")["costs"]["macs"]
    diffnas.evaluate(landed, out=tmp_path / "b", epochs=1, channels=4)
    assert read(tmp_path / "b" / "run.json")["settings"]["channels"] == 4


def test_a_whole_run_trains_the_network_that_landed_even_if_another_size_was_named(tmp_path, capsys):
    out = tmp_path / "run"
    asked = ["run", "digits", *TINY_RUN, "--target", "params<=90k", "--set", "evaluate.channels=16", "--out", str(out)]
    assert main([*asked, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["search"]["landing"]["met"]
    assert printed["evaluation"]["parameters"] == printed["search"]["landing"]["costs"]["params"] <= 90e3
    assert "Cost of the network" in (out / "report.html").read_text()


def test_without_a_folder_the_network_that_landed_is_trained_too():
    result = diffnas.run(
        "digits",
        space="nas-bench-201",
        method="darts",
        train=100,
        target="macs=700k",
        search_settings={"epochs": 1, "channels": 4, "depth": 3},
        evaluate_settings={"epochs": 1},
    )
    assert result.search.landing.met
    assert result.evaluation.macs == result.search.landing.costs["macs"]


def test_a_target_that_is_missed_gives_a_sentence_and_a_code_of_its_own_and_keeps_the_result(tmp_path, capsys):
    out = tmp_path / "run"
    asked = ["search", "digits", *TINY, "--width", "fixed", "--out", str(out), "--quiet"]
    code = main([*asked, "--target", "macs=1.234567M,params=321123"])
    said = capsys.readouterr().err
    assert code == MISSED == 3
    assert "missed: " in said
    assert "--width fixed" in said
    assert (out / "genotype.json").exists()
    assert not read(out / "landing.json")["met"]


def test_a_dry_run_tells_what_can_be_reached(wide, capsys):
    assert main(["search", "digits", *TINY, "--target", "macs=700k", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "macs=700k: from " in printed
    assert "multiply-adds with 16 channels and 3 cells" in printed
    told = diffnas.cost("digits", recipe="digits", space="nas-bench-201", train=100, epochs=1, target="macs=40M")
    (sentence,) = told.reachable
    assert "16 channels" not in sentence


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "mac=3M"], "unknown cost 'mac'. Did you mean 'macs'?"),
        (["--target", "latency=5 m"], "latency takes a number with s, ms, us after it"),
        (["--target", "macs=0"], "must be a number above 0"),
        (["--target", "macs=1k"], "cannot be met: the smallest network of space 'nas-bench-201'"),
        (["--target", "macs=3M", "--targets", "1M,2M"], "give only one of the two"),
        (["--targets", "1M"], "write two or more for one cost"),
        (["--width", "fixed"], "such as --target macs=20M"),
        (["--target", "macs=3M", "--width", "loose"], "unknown width 'loose'"),
        (["--target", "latency=5ms", "--runtime", "tflite"], "unknown runtime 'tflite'"),
        (["--multiplier", "balance"], "--multiplier says how a target is met, but there is none"),
        (["--target", "macs=3M", "--multiplier", "strong"], "multiplier (or balance) must be a number"),
        (["--target", "macs=3M", "--multiplier", "-1"], "multiplier (or balance) must be a number"),
        (["--target", "macs=3M", "--targets-by", "tighten"], "Add --targets macs=2M,5M,10M"),
        (["--targets", "1M,2M", "--targets-by", "tightening"], "Did you mean 'tighten'?"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["search", "dry-run"])
def test_a_target_that_cannot_be_is_refused_in_one_line_and_nothing_is_left(options, said, dry, tmp_path, capsys):
    out = tmp_path / "run"
    place = [] if dry else ["--out", str(out)]
    assert main(["search", "digits", *TINY, *options, *dry, *place]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not out.exists()


def test_a_users_operation_that_cannot_be_counted_is_named():
    from dataclasses import replace

    import torch
    from torch import nn

    from diffnas.space import nas_bench_201

    class Hidden(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(channels, channels, 1, 1))

        def forward(self, x):
            return nn.functional.conv2d(x, self.weight)

    cells = {"normal": replace(nas_bench_201.cells["normal"], ops=(("skip_connect", "mine"),) * 6)}
    factories = {"mine": lambda slot: Hidden(slot.width)}
    space = replace(nas_bench_201, ops=("skip_connect", "mine"), cells=cells, factories=factories)
    tiny = {"space": space, "method": "darts", "recipe": "digits", "train": 100, "epochs": 1, "depth": 3, "channels": 4}
    with pytest.raises(ValueError, match="operation 'mine' multiplies outside of Conv2d and Linear layers"):
        diffnas.search("digits", target="macs=1M", **tiny)
    assert diffnas.search("digits", target="params<=5M", **tiny).landing.met


def test_a_run_that_goes_on_needs_nothing_repeated(landed, tmp_path):
    import shutil

    shutil.copytree(landed, tmp_path / "run")
    (tmp_path / "run" / "landing.json").unlink()
    found = diffnas.search(out=tmp_path / "run", resume=True)
    assert found.landing.met
    assert read(tmp_path / "run" / "landing.json") == read(landed / "landing.json")


@pytest.mark.parametrize("how", [[], ["--targets-by", "tighten", "--multiplier", "balance"]], ids=["reread", "tighten"])
def test_a_family_is_listed_with_its_files(how, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["search", "digits", *TINY, "--targets", "500k,2M", *how, "--out", str(out), "--json"]) in (0, MISSED)
    members = json.loads(capsys.readouterr().out)["search"]["family"]
    family = out / "family"
    assert [member["file"] for member in members] == [str(family / "macs-500k.json"), str(family / "macs-2M.json")]
    assert all(member["landing"]["met"] for member in members)


@pytest.mark.parametrize("verb", [diffnas.search, diffnas.cost, diffnas.run, partial(diffnas.evaluate, "resnet")])
def test_a_target_is_a_text(verb):
    with pytest.raises(ValueError, match=r"target takes a text, .* such as target='macs=20M'; got"):
        verb("digits", target=5e6)


ALONE = ["--recipe", "chain-short", "--epochs", "1", "--seed", "2"]


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "convnext", "random"])
def test_a_network_by_name_is_trained_alone_at_the_width_that_meets_the_target(name, tmp_path, capsys):
    out = tmp_path / "alone"
    assert main(["evaluate", name, "digits", *ALONE, "--target", "macs=390k", "--out", str(out), "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)["evaluation"]
    assert abs(evaluation["macs"] / 390e3 - 1) <= 0.05
    record = read(out / "run.json")
    assert (record["settings"]["depth"], record["settings"]["stem"]) == (8, "cifar-half")
    assert record["notes"]["target"] == "macs=390k"
    # It goes on with nothing repeated, and not with another target.
    assert main(["evaluate", "--resume", str(out), "--quiet"]) == 0
    assert main(["evaluate", "--resume", str(out), "--target", "macs=1M"]) == 2
    assert "begun with --target macs=390k" in capsys.readouterr().err


def test_a_random_network_is_of_the_recipes_space_and_follows_from_the_seed():
    few = {"epochs": 1, "channels": 4, "batch": 1000}
    first, again, other = (
        diffnas.evaluate("random", "digits", recipe="chain-short", seed=seed, **few) for seed in (0, 0, 1)
    )
    assert first.macs == again.macs != other.macs
    assert isinstance(first.network.frame, Chain)


def test_a_random_network_for_a_target_is_of_the_space_that_is_searched_for_targets(tmp_path, capsys):
    few = ["--recipe", "digits", "--epochs", "1", "--batch", "1000"]
    out = tmp_path / "aimed"
    assert main(["evaluate", "random", "digits", *few, "--target", "macs=300k", "--out", str(out)]) == 0
    assert read(out / "run.json")["genotype"]["skeleton"] == "chain"
    assert "searched for" not in capsys.readouterr().err
    usual = diffnas.evaluate("random", "digits", recipe="digits", epochs=1, batch=1000, channels=4)
    assert not isinstance(usual.network.frame, Chain)


def test_cells_that_a_search_found_are_scaled_to_another_target_too(landed, tmp_path):
    result = diffnas.evaluate(landed, out=tmp_path / "run", epochs=1, target="params<=9k")
    assert 7e3 < result.parameters <= 9e3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "macs=1k"], "cannot be met: the network has from 1.21 k multiply-adds at 1 channel to"),
        (["--target", "mac=3M"], "unknown cost 'mac'. Did you mean 'macs'?"),
        (["--target", "macs=1M", "--channels", "16"], "leave --channels out, or --target"),
        (["--runtime", "torch"], "Add --target latency=5ms"),
        (["--target", "latency=5ms", "--runtime", "tflite"], "unknown runtime 'tflite'"),
    ],
)
def test_a_target_that_no_width_meets_is_refused_before_anything_is_trained(options, said, tmp_path, capsys):
    out = tmp_path / "alone"
    assert main(["evaluate", "resnet", "digits", *ALONE, *options, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not out.exists()


def test_the_latency_of_a_network_by_name_is_measured_whole(monkeypatch):
    from diffnas.deploy import latency
    from diffnas.deploy.timing import Timed
    from diffnas.nets.ops import count_macs

    def timed(modules):
        took = {name: 1e-9 * count_macs(net, shape) for name, (net, shape) in modules.items()}
        return {name: Timed(seconds=seconds, median=seconds, busy=False) for name, seconds in took.items()}

    monkeypatch.setattr(latency, "meter", lambda runtime, warn: timed)
    few = {"recipe": "chain-short", "epochs": 1, "batch": 1000}
    result = diffnas.evaluate("resnet", "digits", target="latency=390us", runtime="torch", **few)
    assert abs(result.macs / 390e3 - 1) <= 0.05


@pytest.mark.parametrize(
    ("given", "space"),
    [
        ({}, "darts"),
        ({"target": "macs=300k"}, "chain"),
        ({"targets": "200k,300k"}, "chain"),
        ({"target": "macs=300k", "method": "sparse"}, "darts"),
        ({"target": "macs=300k", "space": "nas-bench-201"}, "nas-bench-201"),
        ({"target": "macs=300k", "recipe": "darts-small"}, "darts"),
        ({"target": "macs=300k", "search_settings": {"depth": 5}}, "darts"),
        ({"target": "macs=300k", "evaluate_settings": {"depth": 5}}, "darts"),
    ],
    ids=str,
)
def test_a_whole_run_with_a_target_searches_chains_unless_something_else_is_named(given, space):
    assert plan_run("digits", **given).arguments["space"].name == space
