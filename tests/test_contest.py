"""Contenders: trained beside the found network, judged, and handed over if they are better."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import diffnas
from diffnas.api import contest, evaluation_folder
from diffnas.api.contest import asked
from diffnas.data import DataSet, Stream, set_aside
from diffnas.engine.listen import Silent
from diffnas.files import write_checked
from diffnas.genotype import published, read, save
from diffnas.nets.network import Network
from diffnas.nets.trained import load as load_trained
from diffnas.recipes import RECIPES
from diffnas.report.contest import judged, read_contest
from diffnas.report.page import write_report
from diffnas.space import SPACES, nas_bench_201, with_own_cells

SMALL = {
    "search_settings": {"epochs": 1, "channels": 4, "depth": 3, "batch": 40},
    "evaluate_settings": {"epochs": 1, "channels": 8, "depth": 3, "batch": 40, "auxiliary": 0.0},
}


class GoneError(Exception):
    """The process that trains is gone."""


class Ear(Silent):
    """Hears what is trained, and dies before the training that it is told to die before."""

    def __init__(self, last: int | None = None) -> None:
        self.notes: list[str] = []
        self.last = last

    def note(self, message: str) -> None:
        if message.startswith("training"):
            self.notes.append(message)
            if len(self.notes) == self.last:
                raise GoneError


def hold(out: Path, data: DataSet, *, ear: Ear | None = None, resume: bool = False, **changes):
    asked = {} if resume else {"against": "random:2,DARTS_V2", "repeats": 2}
    settings = {**SMALL, **asked, **changes}
    return diffnas.run(data, space="darts", out=out, listener=ear or Ear(), seed=3, resume=resume, **settings)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory, data: DataSet):
    out = tmp_path_factory.mktemp("contest") / "run"
    return out, hold(out, data)


def test_every_network_costs_what_the_found_one_costs_and_is_trained_as_often(held):
    out, result = held
    first, *others = result.verdict.contenders
    assert [each.name for each in result.verdict.contenders] == ["found", "random-1", "random-2", "DARTS_V2"]
    assert all(abs(each.macs / first.macs - 1) < 0.2 for each in others)
    assert all(each.right.shape == (2, 50) and len(each.held_out) == 2 for each in result.verdict.contenders)
    contest = read_contest(out)
    assert contest.seeds == (3, 4)
    settings = [
        json.loads(path.read_text())["settings"]
        for path in (out / "evaluation/run.json", *sorted((out / "contenders").glob("*/run.json")))
    ]
    own = ("channels", "seed")
    alike = [{name: value for name, value in each.items() if name not in own} for each in settings]
    assert len(alike) == 8
    assert all(each == alike[0] for each in alike)


def test_nobody_sees_the_pictures_that_choose(held, data: DataSet):
    out, result = held
    less, aside = set_aside(data, 0.1)
    for path in (out / "run.json", *out.glob("*/run.json"), *out.glob("contenders/*/run.json")):
        assert json.loads(path.read_text())["data"]["fingerprint"] == less.fingerprint
    found = result.verdict.contenders[0]
    trained = load_trained(out / "evaluation")
    right = trained.logits(aside.images).argmax(dim=1) == aside.labels
    assert found.held_out[0] == pytest.approx(float(right.float().mean()))
    assert float(found.right[0].mean()) == pytest.approx(result.evaluation.test["accuracy"])


def test_the_best_on_held_out_pictures_is_what_is_predicted_with_and_exported(held):
    out, result = held
    best = max(result.verdict.contenders, key=lambda each: each.chosen_by)
    assert result.verdict.handed == best.name
    assert evaluation_folder(out).name.startswith(best.name if best.name != "found" else "evaluation")


@pytest.mark.parametrize("name", ["found", "random-2"])
def test_whoever_is_handed_over_is_loaded(held, tmp_path: Path, name: str):
    shutil.copytree(held[0], tmp_path / "run")
    said = json.loads((tmp_path / "run/verdict.json").read_text())
    write_checked(tmp_path / "run/verdict.json", json.dumps({**said, "handed": name}).encode())
    place = evaluation_folder(tmp_path / "run")
    assert place.name == "evaluation" or place.name.startswith(f"{name}-seed")
    loaded, own = diffnas.load(tmp_path / "run"), load_trained(place)
    assert torch.equal(loaded.network.frame.head[-1].weight, own.network.frame.head[-1].weight)
    assert loaded.genotype == next(e.genotype for e in read_contest(tmp_path / "run").entries if e.name == name)


def test_a_contest_that_was_cut_off_goes_on_to_the_same_verdict(held, data: DataSet, tmp_path: Path):
    _, result = held
    with pytest.raises(GoneError):
        hold(tmp_path / "run", data, ear=Ear(last=4))
    ear = Ear()
    again = hold(tmp_path / "run", data, ear=ear, resume=True)
    assert len(ear.notes) == 8 - 4  # the found network was trained before the first note
    told = [each | {"seconds": 0} for each in again.verdict.as_record()["contenders"]]
    assert told == [each | {"seconds": 0} for each in result.verdict.as_record()["contenders"]]


def test_the_report_shows_every_network_and_the_verdict(held):
    out, result = held
    page = write_report(out).read_text(encoding="utf-8")
    for each in result.verdict.contenders:
        assert f">{each.name}</text>" in page
    assert result.verdict.sentences[-1] in page


def test_a_changed_answer_is_noticed(held, tmp_path: Path):
    out, _ = held
    shutil.copytree(out, tmp_path / "run")
    place = tmp_path / "run/evaluation/answers.json"
    answers = json.loads(place.read_text())
    place.write_text(json.dumps({**answers, "test": "f" * len(answers["test"])}))
    with pytest.raises(ValueError, match=r"answers\.json"):
        judged(tmp_path / "run")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("random:0", "the number after random: must be a whole number from 1 to 100, got 0"),
        ("random:many", "the number after random: must be a whole number"),
        ("DARTS_V3", "Did you mean 'DARTS_V2'"),
        ("random,random:2", "names a contender twice"),
        ("random,", "a contender has no name"),
    ],
)
def test_contenders_that_cannot_be_are_refused_before_the_search(data: DataSet, tmp_path: Path, text: str, says: str):
    with pytest.raises(ValueError, match=says):
        hold(tmp_path / "run", data, against=text)
    assert not (tmp_path / "run").exists()


def test_contenders_of_a_forecast_are_refused_before_the_search(tmp_path: Path):
    table = tmp_path / "steps.csv"
    table.write_text("a,b\n" + "".join(f"{n},{n % 7}\n" for n in range(300)))
    with pytest.raises(ValueError, match="a forecast is never just right"):
        diffnas.run(table, out=tmp_path / "run", against="lstm")
    assert not (tmp_path / "run").exists()


def test_contenders_need_a_folder_and_repeats_need_contenders(data: DataSet, tmp_path: Path):
    with pytest.raises(ValueError, match="contenders need a run folder"):
        diffnas.run(data, against="random", **SMALL)
    with pytest.raises(ValueError, match="name some"):
        diffnas.run(data, out=tmp_path / "run", repeats=2, **SMALL)


def test_a_run_does_not_go_on_with_other_contenders(held, data: DataSet):
    out, _ = held
    with pytest.raises(ValueError, match=r"was begun with --against random:2,DARTS_V2 --repeats 2"):
        hold(out, data, resume=True, against="random:3", repeats=2)


@pytest.mark.parametrize("own", [False, True])
def test_random_networks_have_cells_of_their_own_where_the_found_one_has(own: bool):
    space = replace(SPACES["transformer"], depth=3)
    found = next(contest.randoms(with_own_cells(space) if own else space, 7))
    (first, drawn, other) = contest.entries(asked("random:2"), found, {}, space, 0, lambda cells: {})
    assert first.genotype is found
    assert list(drawn.genotype.cells) == list(other.genotype.cells) == list(found.cells)
    assert drawn.genotype != other.genotype


def test_a_random_transformer_is_the_one_that_a_contest_of_its_recipe_draws_first(data: DataSet, tmp_path: Path):
    recipe = {"recipe": "vit-small", "channels": 8, "epochs": 1}
    diffnas.evaluate("random", data, out=tmp_path, seed=3, **recipe)
    space = with_own_cells(SPACES["transformer"], RECIPES["vit-small"].search["depth"])
    assert load_trained(tmp_path).genotype == next(contest.randoms(space, 3))


def test_names_are_read_as_written():
    assert [tuple(each) for each in asked("random:3, DARTS_V2")] == [("random", 3), ("DARTS_V2", 1)]


def test_a_contender_from_a_file_and_operations_of_ones_own_are_trained_and_tested(data: DataSet, tmp_path: Path):
    save(published("DARTS_V1"), tmp_path / "my cells.json")
    space = replace(
        nas_bench_201,
        ops=(*nas_bench_201.ops[:-1], "mine"),
        factories={"mine": lambda slot: nn.Conv2d(slot.width, slot.out, 3, slot.stride, 1)},
        cells={
            kind: replace(graph, ops=tuple((*names[:-1], "mine") for names in graph.ops))
            for kind, graph in nas_bench_201.cells.items()
        },
    )
    asked_for = f"random:2,{tmp_path}/my cells.json"
    result = diffnas.run(data, space=space, out=tmp_path / "run", against=asked_for, **SMALL)
    assert [each.name for each in result.verdict.contenders] == ["found", "random-1", "random-2", "my-cells"]
    assert result.verdict.contenders[1].right.shape == (1, 50)


def test_a_network_predicts_each_next_token_of_a_text_once(monkeypatch):
    net = Network(read("DARTS_V1", sequences=True), classes=5, in_channels=5, channels=4, tokens=True).eval()
    text = Stream(steps=torch.randint(5, (40,)), channels=5)
    monkeypatch.setattr(contest, "_COLUMNS", 1)
    monkeypatch.setattr(contest, "_WINDOW", 7)
    with torch.no_grad():
        whole = net(text.steps[None, :-1]).logits.argmax(dim=-1)[0] == text.steps[1:]
        assert contest._predicted(net, text) == whole.tolist()
    assert not net.frame.carried.states
