"""How a search begins: its seeds, its initial weights, alpha from another search, and a pretext before it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted import Stop, assert_same, remains
from torch import nn

from diffnas.components import pick
from diffnas.components.pretext import barlow, rotation
from diffnas.components.stages import Pause, Stage
from diffnas.engine import search_state
from diffnas.engine.listen import Interrupted, Silent
from diffnas.engine.settings import SearchSettings
from diffnas.method import compose, darts, sparse
from diffnas.report.reading import read_run
from diffnas.space import nas_bench_201, s2

ROTATED = replace(darts, name="rotated", pretext=rotation)
TINY = SearchSettings(epochs=2, batch=20, channels=4, depth=3)


class Hearing(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    warn = note


def begun(data, method=darts, space=nas_bench_201, **changed):
    state = search_state.begin(data, space, method, replace(TINY, **changed), torch.device("cpu"))
    state.initialize(state)
    return state


def test_each_seed_decides_its_own_part_of_the_beginning(data):
    def parts(**seeds):
        state, settings = begun(data, **seeds), replace(TINY, **seeds)
        order = search_state.halves(100, settings)[0]
        return next(state.supernet.parameters()).detach(), state.alpha.detach(), order

    base = parts()
    for name, place in (("weights_seed", 0), ("alpha_seed", 1), ("order_seed", 2)):
        same = [torch.equal(one, other) for one, other in zip(base, parts(**{name: 7}), strict=True)]
        assert same == [other != place for other in range(3)], name
        assert all(torch.equal(*pair) for pair in zip(base, parts(**{name: 0}), strict=True)), "as the seed itself"


def test_other_weights_are_trained_on_the_same_pictures_in_the_same_order(quick, monkeypatch):
    from diffnas.engine import search_step

    seen: list[torch.Tensor] = []
    take = search_step.SearchStep.take

    def look(step, batch) -> None:
        take(step, batch)
        seen.append(step.train[0])

    monkeypatch.setattr(search_step.SearchStep, "take", look)
    first = quick("darts", epochs=1)
    other = quick("darts", epochs=1, weights_seed=3)
    assert all(torch.equal(*pair) for pair in zip(seen[:3], seen[3:6], strict=True))
    quick("darts", epochs=1, order_seed=3)
    assert not any(torch.equal(*pair) for pair in zip(seen[:3], seen[6:], strict=True))
    assert first.trace[0]["train"] != other.trace[0]["train"]


def test_an_initializer_changes_the_weights_and_nothing_else_of_the_beginning(data):
    usual, other = begun(data), begun(data, replace(darts, initial=compose("darts", {"initial": "he"}).initial))
    assert not torch.equal(next(usual.supernet.parameters()), next(other.supernet.parameters()))
    assert torch.equal(usual.alpha, other.alpha)
    assert all(torch.equal(*pair) for pair in zip(usual.supernet.buffers(), other.supernet.buffers(), strict=True))


def test_the_usual_initializer_leaves_the_weights_that_pytorch_drew(data):
    built = search_state.begin(data, nas_bench_201, darts, TINY, torch.device("cpu")).supernet
    assert all(torch.equal(*pair) for pair in zip(built.parameters(), begun(data).supernet.parameters(), strict=True))


def test_the_first_line_of_the_trace_tells_the_variances_of_the_nodes(quick, tmp_path: Path):
    trace = quick("darts", out=tmp_path / "run").trace
    assert [len(trace[0]["start"]["variances"]["normal"]), "start" in trace[1]] == [3, False]
    read = read_run(tmp_path / "run").search
    assert read.start.variances == trace[0]["start"]["variances"]


def mine(net: nn.Module, batch, generator: torch.Generator) -> str:
    assert net(batch[0]).shape == (len(batch[0]), 10)
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(0.01)
    return "all alike"


def test_an_initializer_of_ones_own_is_a_component_like_any_other(quick):
    heard = Hearing()
    trace = quick(replace(darts, initial=mine), listener=heard).trace
    assert "all alike" in heard.said
    assert trace[0]["start"]["initial"] == "all alike"


def spoil(net: nn.Module, batch, generator: torch.Generator) -> None:
    net.frame.head[-1].bias.data.fill_(torch.nan)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda net, batch, generator: 3, "must return a sentence, or None; it returned the int 3"),
        (lambda net, batch, generator: batch[0].zero_(), "changed its arguments in place"),
        (spoil, "not finite"),
        (lambda net: None, "cannot be called with these"),
    ],
)
def test_an_initializer_that_breaks_its_contract_is_refused_before_anything_is_written(quick, tmp_path, rule, said):
    with pytest.raises(ValueError, match=said):
        quick(replace(darts, initial=rule), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_search_from_other_weights_that_is_interrupted_ends_as_one_left_alone(quick, tmp_path: Path):
    method = compose("sparse", {"initial": "lsuv"})
    quick(method, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        quick(method, out=tmp_path / "parts", listener=Stop(2))
    quick(method, out=tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_resumed_search_does_not_initialize_again(quick, tmp_path: Path):
    calls = []

    def once(net, batch, generator) -> None:
        calls.append(1)

    method = replace(darts, initial=once)
    with pytest.raises(Interrupted):
        quick(method, out=tmp_path / "run", listener=Stop(2))
    quick(method, out=tmp_path / "run", resume=True)
    assert calls == [1]


# The pretext.


@pytest.mark.parametrize("kind", [rotation, barlow], ids=lambda each: each.name)
def test_a_pretext_moves_the_weights_and_leaves_alpha_and_operations_alone(quick, kind):
    fast = replace(sparse, pretext=kind)
    trace = quick(fast, epochs=1, pretext_epochs=2, alpha_lr=1.0).trace
    plain = quick("sparse", epochs=1, alpha_lr=1.0).trace
    assert [(line["stage"], line.get("pretext"), line["epoch"]) for line in trace] == [
        ("pretext", kind.name, 0),
        ("pretext", kind.name, 1),
        ("search", None, 2),
    ]
    assert trace[0]["alpha"] == trace[1]["alpha"] != trace[2]["alpha"]
    assert trace[0]["start"] == plain[0]["start"], "the same weights at first"
    assert trace[0]["keep"] == trace[1]["keep"]
    assert all(map(all, trace[1]["keep"]))
    assert trace[0]["steps"] == 6
    assert trace[2]["train"] != plain[0]["train"]
    assert trace[1]["held_out"] is None


def test_the_classifier_and_the_optimizer_are_fresh_after_the_pretext(data):
    state = begun(data, ROTATED, pretext_epochs=1)
    drawn = begun(data).supernet.frame.head[-1]
    moved = {id(weight) for group in state.weight_optimizer.param_groups for weight in group["params"]}
    own = state.supernet.frame.head[-1]
    assert {id(weight) for weight in state.pretraining.head.parameters()} <= moved
    state.end_pretext_()
    assert all(torch.equal(*pair) for pair in zip(own.parameters(), drawn.parameters(), strict=True))
    assert not state.weight_optimizer.state
    moved = {id(weight) for group in state.weight_optimizer.param_groups for weight in group["params"]}
    assert moved == {id(weight) for weight in state.supernet.parameters()}


def test_no_epochs_of_a_pretext_are_as_no_pretext(quick):
    heard = Hearing()
    without, none = quick(darts), quick(ROTATED, listener=heard)
    assert [line["alpha"] for line in without.trace] == [line["alpha"] for line in none.trace]
    assert [line["train"] for line in without.trace] == [line["train"] for line in none.trace]
    assert any("has no epochs" in said for said in heard.said)


def test_the_pretext_sees_all_pictures_or_only_those_of_the_weights(quick):
    steps = [quick(ROTATED, epochs=1, pretext_epochs=1, pretext_own=half).trace[0]["steps"] for half in (False, True)]
    assert steps == [6, 3]


def test_the_pretext_has_its_own_learning_rate(quick):
    trace = quick(ROTATED, epochs=1, pretext_epochs=1, pretext_lr=0.3).trace
    assert [line["lr"] for line in trace] == [0.3, 0.025]


PRETEXT = replace(ROTATED, pretext=barlow)


@pytest.fixture(scope="module")
def pretrained(quick, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with a pretext that was left alone."""
    folder = tmp_path_factory.mktemp("pretrained") / "whole"
    quick(PRETEXT, out=folder, pretext_epochs=2)
    return folder


@pytest.mark.parametrize("stops", [[2], [6], [8], [12, 2], [13]], ids=str)
def test_a_search_that_is_interrupted_in_its_pretext_ends_as_one_left_alone(
    quick, pretrained: Path, tmp_path: Path, stops: list[int]
):
    for number, steps in enumerate(stops):
        with pytest.raises(Interrupted):
            quick(PRETEXT, out=tmp_path / "parts", resume=number > 0, listener=Stop(steps), pretext_epochs=2)
    quick(PRETEXT, out=tmp_path / "parts", resume=True, pretext_epochs=2)
    assert_same(pretrained, tmp_path / "parts")


def test_rules_that_read_the_history_do_not_see_the_pretext(quick):
    seen = []

    def first(history, space, task) -> int:
        seen.append([line["stage"] for line in history])
        return 0

    quick(replace(ROTATED, pick=first), pretext_epochs=2)
    assert seen == [["search", "search"]]
    quick(replace(ROTATED, pick=pick.best_held_out), pretext_epochs=1)


def test_a_pretext_comes_before_the_stages_of_a_method(quick):
    def deeper(at: Pause) -> None:
        at.rebuild(at.keep)

    def two(space, epochs):
        return Stage(name="one", epochs=1), Stage(name="two", epochs=1, settings={"depth": 5}, enter=deeper)

    trace = quick(replace(ROTATED, stages=two), pretext_epochs=1).trace
    plain = quick(replace(darts, stages=two)).trace
    assert [line["stage"] for line in trace] == ["pretext", "one", "two"]
    assert trace[2]["start"] == plain[1]["start"], "the new supernet begins as it does without a pretext"


def test_a_run_folder_tells_the_pretext_apart_from_the_search(quick, tmp_path: Path):
    quick(ROTATED, pretext_epochs=1, out=tmp_path / "run")
    search = read_run(tmp_path / "run").search
    assert ([line.pretext for line in search.pretext], len(search.lines)) == (["rotation"], 2)


@pytest.mark.parametrize(
    ("method", "changed", "said"),
    [
        (darts, {"pretext_epochs": 2}, "2 epochs of a pretext, and no pretext. Add --pretext rotation"),
        (
            replace(darts, pretext=barlow),
            {"pretext_epochs": 1, "batch": 8},
            "barlow needs batches of 16 pictures or more",
        ),
        (darts, {"alpha_keep": True}, "name it, --alpha-from RUN"),
        (darts, {"alpha_from": "no/such/run"}, "no/such/run is not a run folder"),
    ],
)
def test_a_beginning_that_cannot_be_is_refused_before_anything_is_written(quick, tmp_path, method, changed, said):
    with pytest.raises(ValueError, match=said):
        quick(method, out=tmp_path / "run", **changed)
    assert not (tmp_path / "run").exists()


def test_a_small_batch_of_a_contrastive_pretext_is_told(quick):
    heard = Hearing()
    quick(replace(darts, pretext=barlow), epochs=1, pretext_epochs=1, listener=heard)
    assert any("20 are few" in said for said in heard.said)
    assert any(said.startswith("the pretext barlow is over: loss ") for said in heard.said)


def test_a_frame_without_a_classifier_has_no_pretext(data, monkeypatch):
    monkeypatch.setattr("diffnas.engine.pretraining.has_classifier", lambda supernet: False)
    with pytest.raises(ValueError, match=r"has none at the end of its head\. Search without --pretext"):
        begun(data, ROTATED, pretext_epochs=1)


# Warm starts.


def test_alpha_of_another_run_is_shrunk_and_its_operations_can_be_kept(quick, tmp_path: Path):
    quick("sparse", out=tmp_path / "old", alpha_lr=0.3)
    old = json.loads((tmp_path / "old/trace.jsonl").read_text().splitlines()[-1])
    assert not all(map(all, old["keep"])), "nothing was removed: the test shows nothing"
    place, heard = str(tmp_path / "old"), Hearing()
    options = {"alpha_from": place, "alpha_shrink": 0.25, "alpha_warmup": 2}
    found = quick("darts", listener=heard, **options).trace[-1]
    torch.testing.assert_close(torch.tensor(found["alpha"]), 0.25 * torch.tensor(old["alpha"]))
    assert all(map(all, found["keep"]))
    assert any("in play again" in said for said in heard.said)
    kept = quick("darts", alpha_keep=True, **options).trace[-1]
    assert kept["keep"] == old["keep"]


def test_alpha_of_another_space_is_refused(quick, tmp_path: Path):
    quick("sparse", out=tmp_path / "old", epochs=1)
    with pytest.raises(ValueError, match=r"is for \(6, 5\) edges and operations, and this search has \(28, 2\)"):
        quick("darts", space=s2, alpha_from=str(tmp_path / "old"))


def test_a_warm_start_tells_how_much_it_took(quick, tmp_path: Path):
    quick("darts", out=tmp_path / "old")
    heard = Hearing()
    trace = quick(compose("darts", {"initial": f"run:{tmp_path / 'old'}"}), listener=heard, epochs=1).trace
    (said,) = [text for text in heard.said if text.startswith("warm start")]
    assert said.endswith("100% of the parameters, were taken.")
    assert trace[0]["start"]["initial"] == said
    saved = remains(tmp_path / "old")[1]["supernet"]
    assert saved
