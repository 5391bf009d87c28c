"""A frame of the user's own, from the space to the network that is used."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ways import backend

import diffnas
from diffnas.cli import main
from diffnas.engine.cost import Prospect, _bound
from diffnas.engine.settings import SearchSettings
from diffnas.genotype import Cell, Connection, Genotype, read, to_text
from diffnas.method import METHODS
from diffnas.nets.auxiliary import Output
from diffnas.nets.cell import Place
from diffnas.nets.frames import Frame, MakeCell, Run, Sizes
from diffnas.nets.least import least
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.own import try_parts
from diffnas.nets.sites import offered
from diffnas.nets.sized import Size, SizedSpace
from diffnas.nets.sizes import sizes_of_space
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, dense_cell


class Unrolled(Frame):
    """One cell, run over the rows of a picture of 8 columns."""

    kinds = ("cell",)

    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__()
        n = sizes.channels
        self.embedding = nn.Linear(8 * sizes.inputs, n)
        self.cells = nn.ModuleList(
            cell(Place(kind=kind, width=n, prepare=[nn.Linear(n, n), nn.Linear(n, n)])) for kind in self.kinds
        )
        self.head = nn.Linear(n, sizes.outputs)

    def forward(self, x: Tensor, run: Run) -> Output:
        rows = self.embedding(x.transpose(1, 2).flatten(2))
        state = torch.zeros_like(rows[:, 0])
        for row in rows.unbind(1):
            for cell in self.cells:
                state = run(cell, (row, state))
        return Output(self.head(state), None)


def gate(activation: nn.Module) -> Any:
    return lambda slot: nn.Sequential(nn.Linear(slot.width, slot.out), activation)


OPS = ("none", "tanh", "relu")
SPACE = SearchSpace(
    name="rows",
    cells={"cell": dense_cell(inputs=2, nodes=2, ops=OPS)},
    ops=OPS,
    skeleton="own:unrolled:mean",
    frame=Unrolled,
    in_degree=1,
    factories={"tanh": gate(nn.Tanh()), "relu": gate(nn.ReLU())},
)
CELL = Cell(inputs=2, nodes=4, connections=(Connection("tanh", 0, 2), Connection("relu", 1, 3)), output=(2, 3))
GENOTYPE = Genotype(skeleton=SPACE.skeleton, cells={"cell": CELL})
TINY: dict[str, Any] = {"train": 60, "channels": 4, "method": "darts", "epochs": 1}
NET: dict[str, Any] = {"channels": 4, "epochs": 1, "auxiliary": 0.0}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search and an evaluation with a frame of their own."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    found = diffnas.search("digits", space=SPACE, out=folder, **TINY)
    diffnas.evaluate(found, **NET, **SPACE.own)
    return folder


def test_its_network_is_loaded_and_predicts(run_folder: Path) -> None:
    loaded = diffnas.load(run_folder, **SPACE.own)
    assert loaded.predict(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)
    assert isinstance(loaded.network.frame, Unrolled)


def test_a_run_folder_that_needs_it_says_so(run_folder: Path) -> None:
    for needs in (diffnas.load, diffnas.export, lambda run, **own: diffnas.evaluate(run, out=run / "b", **NET, **own)):
        with pytest.raises(ValueError, match=r"a frame of your own, 'own:unrolled:mean': give it as frame="):
            needs(run_folder, factories=SPACE.factories)


def test_its_search_is_resumed_with_it_and_with_no_other_space(run_folder: Path) -> None:
    again = diffnas.search("digits", space=SPACE, out=run_folder, resume=True, **TINY)
    assert again.genotype == read(run_folder)
    record = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))
    assert record["space"]["frame"] == "Unrolled"

    class Other(Unrolled):
        pass

    with pytest.raises(ValueError, match="frame"):
        diffnas.search("digits", space=replace(SPACE, frame=Other), out=run_folder, resume=True, **TINY)


def test_its_report_is_written(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run_folder)]) == 0
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["torch", "exported"])
def test_its_network_is_exported(run_folder: Path, form: str, tmp_path: Path) -> None:
    (agreement,) = diffnas.export(run_folder, [form], out=tmp_path, **SPACE.own).agreements
    assert agreement.difference < 1e-4


def test_its_source_is_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is an operation of your own|is a frame of your own"):
        diffnas.export(run_folder, ["source"], out=tmp_path, **SPACE.own)


def test_its_genotype_keeps_its_skeleton_as_text(run_folder: Path) -> None:
    found = read(run_folder)
    assert read(to_text(found)) == found


def test_its_cost_is_told(data) -> None:
    told = diffnas.cost("digits", space=SPACE, **TINY)
    with torch.device("meta"):
        net = Supernet(SPACE, classes=10, in_channels=1, channels=4)
    assert told.parameters == sum(weight.numel() for weight in net.parameters())
    ask = Prospect(data=data, space=SPACE, method=METHODS["darts"], settings=SearchSettings(channels=4), device="cpu")
    assert 4 * _bound(ask) > max(ask._watched(ask.settings.batch))


def test_the_weights_of_a_cell_that_runs_often_count_once() -> None:
    sizes = sizes_of_space(SPACE, 10, 1, channels=4)
    supernet = Supernet(SPACE, classes=10, in_channels=1, channels=4)
    inside = sum(op.numel() for edge in supernet.cells[0].edges for op in edge.parameters())
    around = sum(weight.numel() for weight in supernet.parameters()) - inside
    assert least(sizes, offered(SPACE), (1, 8, 8)).weights == around
    sized = SizedSpace(space=SPACE, picture=(1, 8, 8), classes=10, size=Size(4, 3))
    assert sized.cost(GENOTYPE, "params") == parameters_of(sized.network(GENOTYPE))


class Tokens(Unrolled):
    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__(sizes, cell)
        self.embedding = nn.Embedding(sizes.inputs, sizes.channels)

    def forward(self, x: Tensor, run: Run) -> Output:
        state = torch.zeros(len(x), self.embedding.embedding_dim)
        for token in self.embedding(x).unbind(1):
            state = run(self.cells[0], (token, state))
        return Output(self.head(state), None)


@pytest.mark.parametrize("how", ["plain", "fast"])
def test_a_loop_of_one_s_own_gives_it_what_it_reads(how: str) -> None:
    space, tokens = replace(SPACE, frame=Tokens), torch.randint(5, (4, 6))
    net = Supernet(space, classes=2, in_channels=5, channels=4, backend=backend(how))
    mix = torch.full((5, 3), 0.5, requires_grad=True)
    net(tokens, mix).sum().backward()
    assert mix.grad is not None
    network = Network(GENOTYPE, classes=2, in_channels=5, channels=4, **space.own)
    assert network(tokens).logits.shape == (4, 2)


class Silent(Unrolled):
    def forward(self, x: Tensor, run: Run) -> Any:
        return super().forward(x, run).logits


class TwoKinds(Unrolled):
    kinds = ("cell", "other")


class NoKind(Unrolled):
    kinds = ()


class OneInput(Unrolled):
    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__(sizes, lambda place: cell(Place(kind="cell", width=4, prepare=[nn.Identity()])))


WRONG = {
    "must return a diffnas.nets.frames.Frame": lambda sizes, cell: nn.Identity(),
    "a frame is a function of (sizes, cell)": Unrolled.__name__,
    "whose forward returns Output": Silent,
    "unknown kind of cell 'other'": TwoKinds,
    "runs no cell of the kind 'cell'": NoKind,
    "has inputs: 2": OneInput,
}


@pytest.mark.parametrize("said", WRONG)
def test_a_frame_that_breaks_its_contract_is_refused_before_the_first_step(said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        diffnas.search("digits", space=replace(SPACE, frame=WRONG[said]), out=tmp_path / "run", **TINY)
    assert said in str(error.value)
    assert not (tmp_path / "run").exists()


class NarrowHead(Unrolled):
    def __init__(self, sizes: Sizes, cell: MakeCell) -> None:
        super().__init__(sizes, cell)
        self.head = nn.Linear(sizes.channels + 1, sizes.outputs)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have notes from Python 3.11 on")
@pytest.mark.parametrize("options", [{}, {"target": "params=1k"}])
def test_an_error_in_its_forward_names_the_frame(options: dict[str, Any], tmp_path: Path) -> None:
    space = replace(SPACE, frame=NarrowHead)
    with pytest.raises(RuntimeError) as error:
        diffnas.search("digits", space=space, out=tmp_path / "run", **TINY, **options)
    assert error.value.__notes__ == ["(in the forward of the frame NarrowHead, called with x, run)"]
    with pytest.raises(RuntimeError) as error:
        diffnas.evaluate(GENOTYPE, "digits", out=tmp_path / "run", **NET, **space.own)
    assert error.value.__notes__ == ["(in the forward of the frame NarrowHead, called with x, run)"]
    assert not (tmp_path / "run").exists()


def test_the_trial_of_a_frame_draws_no_random_number() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    try_parts(sizes_of_space(SPACE, 10, 1, channels=4), offered(SPACE), SPACE.factories, (1, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", [{"skeleton": "darts"}, {"frame": None}, {"skeleton": "own:a b"}])
def test_a_frame_and_its_skeleton_go_together(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="own:NAME"):
        replace(SPACE, **change)


def test_a_cell_for_each_place_is_refused_where_only_the_frame_knows_the_places() -> None:
    with pytest.raises(ValueError, match="alpha_per=kind"):
        diffnas.search("digits", space=SPACE, alpha_per="cell", **TINY)
