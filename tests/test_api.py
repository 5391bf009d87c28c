import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

import diffnas
from diffnas.components import weighting
from diffnas.engine.listen import Silent
from diffnas.genotype import Cell, Connection
from diffnas.space import without

TINY = {"space": "nas-bench-201", "train": 100, "epochs": 1, "channels": 4, "depth": 3}
TINY_NET = {"epochs": 1, "channels": 4, "depth": 3, "auxiliary": 0.0}
CELL = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"


def record(folder):
    return json.loads((folder / "run.json").read_text())


def tensors(classes=2, count=24, size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=generator)
    return images, torch.arange(count) % classes


class Ear(Silent):
    def __init__(self):
        self.warnings, self.phases = [], []

    def warn(self, message):
        self.warnings.append(message)

    def begin(self, phase, epochs, steps, done, task):
        self.phases.append((phase, done))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return diffnas.search("digits", out=tmp_path_factory.mktemp("api") / "run", **TINY)


def test_every_public_name_can_be_had_and_no_other():
    assert all(getattr(diffnas, name) is not None for name in diffnas.__all__)
    assert len(diffnas.__all__) <= 38
    assert set(diffnas.__all__) <= set(dir(diffnas))
    with pytest.raises(AttributeError, match="'diffnas' has no attribute 'serch'"):
        _ = diffnas.serch


def test_importing_the_package_or_its_command_does_not_import_torch():
    code = "import sys, diffnas, diffnas.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_search_notes_what_is_needed_to_load_its_data_again(found):
    notes = record(found.folder)["notes"]
    assert notes["data"] == dict.fromkeys(("data_dir", "size", "stream", "tokens", "encoding", "lower")) | {
        "what": "digits"
    }
    assert (notes["train"], notes["space"], notes["method"]) == (100, "nas-bench-201", "sparse")
    assert record(found.folder)["data"]["train"] == 100


def test_settings_come_from_the_method_then_the_recipe_then_the_caller(found, tmp_path):
    assert record(found.folder)["settings"]["alpha_lr"] is None
    diffnas.search("digits", recipe="nas-bench-201-small", train=100, epochs=1, channels=4, depth=3, out=tmp_path)
    settings = record(tmp_path)["settings"]
    assert (settings["alpha_speed"], settings["stem"], settings["epochs"]) == (10 / 3, "cifar-half", 1)
    assert record(tmp_path)["space"]["name"] == "nas-bench-201"


def test_a_finished_search_is_resumed_from_its_folder_alone(found):
    again = diffnas.search(out=found.folder, resume=True)
    assert again.genotype == found.genotype
    assert again.trace == found.trace


def test_resuming_with_another_setting_is_refused_and_the_folder_is_left_alone(found):
    before = {path: path.read_bytes() for path in found.folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"lr was 0\.025 and is 0\.5"):
        diffnas.search(out=found.folder, resume=True, lr=0.5)
    assert before == {path: path.read_bytes() for path in found.folder.rglob("*") if path.is_file()}


def test_a_run_folder_is_evaluated_on_all_training_pictures_of_the_data_it_searched(found):
    result = diffnas.evaluate(found.folder, **TINY_NET)
    assert result.folder == found.folder / "evaluation"
    assert record(result.folder)["data"]["train"] == 1347
    assert json.loads((result.folder / "result.json").read_text())["test"] == result.test
    again = diffnas.evaluate(out=result.folder, resume=True)
    assert again.test == result.test
    picture = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    assert diffnas.load(found.folder).predict(picture).shape == (1, 10)


@pytest.mark.parametrize("form", ["text", "file", "genotype"])
def test_a_genotype_is_evaluated_in_whichever_form_it_comes(form, tmp_path):
    (tmp_path / "cell.txt").write_text(CELL)
    what = {"text": CELL, "file": tmp_path / "cell.txt", "genotype": diffnas.read(CELL)}[form]
    data = diffnas.from_tensors(tensors(), tensors())
    result = diffnas.evaluate(what, data, **TINY_NET)
    assert result.folder is None
    assert result.parameters == diffnas.evaluate(CELL, data, **TINY_NET).parameters


def test_data_may_be_tensors_or_a_torch_data_set():
    for data in ((tensors(), tensors()), torch.utils.data.TensorDataset(*tensors())):
        found = diffnas.search(data, space="nas-bench-201", epochs=1, channels=4, depth=3, batch=8)
        assert set(found.genotype.cells) == {"normal"}


def test_data_that_is_neither_a_name_nor_pictures_is_refused():
    with pytest.raises(ValueError, match=r"\(\(pictures, labels\), \(pictures, labels\)\)"):
        diffnas.search(tensors(), space="nas-bench-201")


def test_objects_made_in_python_must_be_given_again_to_resume(tmp_path):
    method = replace(diffnas.METHODS["sparse"], name="mine", weighting=partial(weighting.entmax, order=1.5))
    space = without(diffnas.SPACES["nas-bench-201"], "none")
    data = (tensors(), tensors())
    small = {"epochs": 1, "channels": 4, "depth": 3, "batch": 8}
    first = diffnas.search(data, space=space, method=method, out=tmp_path, **small)
    given = {"data": data, "space": space, "method": method}
    for missing, complaint in (
        ("data", "no data"),
        ("space", r"resume=True, space=\.\.\."),
        ("method", r"resume=True, method=\.\.\."),
    ):
        rest = {name: value for name, value in given.items() if name != missing}
        with pytest.raises(ValueError, match=complaint):
            diffnas.search(out=tmp_path, resume=True, **rest)
    assert diffnas.search(out=tmp_path, resume=True, **given).genotype == first.genotype


def test_components_replace_those_of_a_method_given_by_name(tmp_path):
    overrides = {"weighting": "entmax:2", "discretize": "winners-without-none"}
    diffnas.search("digits", components=overrides, out=tmp_path, **TINY)
    kept = record(tmp_path)
    assert kept["method"]["weighting"] == "entmax(order=2.0)"
    assert kept["notes"]["components"] == overrides
    assert diffnas.search(out=tmp_path, resume=True).trace
    with pytest.raises(ValueError, match="given by name"):
        diffnas.search("digits", method=diffnas.METHODS["darts"], components=overrides, **TINY)


def test_a_whole_run_goes_on_in_the_phase_it_was_in(tmp_path):
    options = {"search_settings": {"epochs": 1, "channels": 4, "depth": 3}, "evaluate_settings": TINY_NET}
    ear = Ear()
    out = tmp_path / "run"
    first = diffnas.run(out=out, space="nas-bench-201", train=100, seed=3, listener=ear, **options)
    assert [phase for phase, _ in ear.phases] == ["search", "evaluate"]
    assert [path.name for path in first.drawings] == ["cell.svg", "cell.png"]
    assert all(path.stat().st_size for path in first.drawings)
    assert record(out)["settings"]["seed"] == record(out / "evaluation")["settings"]["seed"] == 3
    # As if it had been stopped between the two phases: what was asked of the second is still known.
    for path in sorted((out / "evaluation").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    second = diffnas.run(out=out, resume=True)
    assert second.evaluation.test == first.evaluation.test
    assert record(out / "evaluation")["settings"]["channels"] == 4


def test_a_run_interrupted_in_its_second_phase_goes_on_from_its_own_folder(tmp_path):
    class Killer(Ear):
        killed = False

        def step(self, loss, accuracy):
            if self.phases[-1][0] == "evaluate" and not self.killed:
                self.killed = True
                os.kill(os.getpid(), signal.SIGTERM)

    options = {"search_settings": {"epochs": 1, "channels": 4, "depth": 3}, "evaluate_settings": TINY_NET}
    ear = Killer()
    with pytest.raises(diffnas.Interrupted) as stop:
        diffnas.run(out=tmp_path / "run", space="nas-bench-201", train=100, listener=ear, **options)
    assert stop.value.folder == tmp_path / "run"
    diffnas.run(out=tmp_path / "run", resume=True, listener=ear)
    assert ear.phases[-1] == ("evaluate", 1)


def test_a_run_without_a_folder_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"search_settings": {"epochs": 1, "channels": 4, "depth": 3}, "evaluate_settings": TINY_NET}
    result = diffnas.run(space="nas-bench-201", train=100, **options)
    assert 0 <= result.evaluation.test["accuracy"] <= 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_of_the_evaluation_are_found_before_the_search(tmp_path):
    with pytest.raises(ValueError, match=r"unknown setting 'epoch'\. Did you mean 'epochs'"):
        diffnas.run(out=tmp_path / "run", evaluate_settings={"epoch": 3})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"epochs": "three"}, "epochs must be a whole number from 1 to 1,000,000, got 'three'"),
        ({"epochs": 1.5}, "epochs must be a whole number .*1.5"),
        ({"stem": "wide"}, "stem must be .*'cifar-half'.*'wide'"),
        ({"epochs": 0}, "epochs must be a whole number from 1 to 1,000,000, got 0"),
        ({"epoch": 1}, "unknown setting 'epoch'. Did you mean 'epochs'"),
    ],
)
def test_a_wrong_setting_is_named(setting, complaint):
    with pytest.raises(ValueError, match=complaint):
        diffnas.search("digits", **setting)


@pytest.mark.parametrize("top", [0, -1, 1.5, True, "1"])
def test_how_many_classes_are_named_is_a_whole_number(top):
    from diffnas.api import predict_files

    with pytest.raises(ValueError, match="top must be a whole number from 1 to"):
        next(predict_files(None, [], top))


def test_a_recipe_s_limit_on_pictures_holds_only_where_there_are_more():
    from diffnas.api.planning import _cap

    digits = diffnas.load_data("digits")
    assert _cap(digits, None) is None
    assert _cap(digits, 5000) is None
    assert _cap(digits, 400) == 400


def test_a_run_goes_on_with_the_threads_it_was_begun_with(tmp_path):
    torch.set_num_threads(2)
    diffnas.search("digits", out=tmp_path, threads=1, **TINY)
    diffnas.search(out=tmp_path, resume=True)
    kept = record(tmp_path)
    assert kept["notes"]["threads"] == kept["made_with"]["threads"] == 1
    assert torch.get_num_threads() == 2


def test_a_run_in_a_space_with_own_operations_is_evaluated_and_loaded_too(tmp_path):
    factories = {"blur": lambda slot: torch.nn.AvgPool2d(3, slot.stride, padding=1)}
    ops = ("skip_connect", "blur", "sep_conv_3x3")
    cells = {kind: diffnas.dense_cell(inputs=2, nodes=1, ops=ops) for kind in ("normal", "reduce")}
    mine = diffnas.SearchSpace(name="mine", cells=cells, ops=ops, factories=factories)
    sizes = {"epochs": 1, "channels": 4, "depth": 3}
    net = {**TINY_NET, "auxiliary": 0.0}
    diffnas.run("digits", space=mine, out=tmp_path / "run", train=100, search_settings=sizes, evaluate_settings=net)
    assert diffnas.load(tmp_path / "run", factories=factories).classes[3] == "3"
    blurred = Cell(inputs=2, nodes=3, connections=(Connection("blur", 0, 2),), output=(2,))
    found = diffnas.Genotype(skeleton="darts", cells=dict.fromkeys(("normal", "reduce"), blurred))
    with pytest.raises(ValueError, match=r"'blur' is none of diffnas.*in Python: factories=\{'blur': \.\.\.\}"):
        diffnas.evaluate(found, "digits", out=tmp_path / "other", **TINY_NET)
    assert not (tmp_path / "other").exists()


def test_a_search_refuses_an_own_operation_with_the_name_of_one_of_diffnas(tmp_path):
    factories = {"skip_connect": lambda slot: torch.nn.AvgPool2d(3, slot.stride, padding=1)}
    space = replace(diffnas.SPACES["nas-bench-201"], factories=factories)
    with pytest.raises(ValueError, match="'skip_connect' is the name of an operation of diffnas"):
        diffnas.search("digits", out=tmp_path / "run", **{**TINY, "space": space})
    assert not (tmp_path / "run").exists()
