"""Selection by perturbation, on a stand-in for a supernet whose best operations and inputs are known."""

from typing import Any

import pytest
import torch
from torch import Tensor

from diffnas.components import perturbation as pt
from diffnas.components.relaxation import relax
from diffnas.components.schedule import Moment
from diffnas.components.stages import HeldOutScore
from diffnas.components.weighting import softmax
from diffnas.space import darts, nas_bench_201, s2, without

NOW = Moment(epoch=0, step=0, epochs=1, steps=1)


class Planted:
    """A pause in which the accuracy is what the weights times the worth of each operation come to."""

    def __init__(self, space, worth: Tensor) -> None:
        self.space, self.worth, self.epoch = space, worth.double(), 0
        self.keep_now = torch.tensor(space.offered)
        # What alpha prefers is the opposite of what is worth something.
        self.alpha = -3 * worth.double()
        self.seen: list[Tensor] = []
        self.notes: list[dict[str, Any]] = []
        self.renewed = 0

    @property
    def keep(self) -> Tensor:
        return self.keep_now.clone()

    def at_rest(self):
        return relax(softmax, self.alpha, self.keep_now, NOW, self.space)

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(len(purpose) + 31 * self.epoch)

    def measure(self, mix: Tensor) -> HeldOutScore:
        self.seen.append(mix)
        accuracy = float((mix * self.worth).sum())
        return HeldOutScore(-accuracy, accuracy)

    def decide(self, keep: Tensor) -> None:
        assert not (keep & ~self.keep_now).any()
        self.keep_now = keep

    def renew_weight_optimizer(self) -> None:
        self.renewed += 1

    def note(self, **event: Any) -> None:
        self.notes.append(event)

    def run(self, stage) -> list[int]:
        """All pauses of a stage; how many decisions there were before each epoch."""
        stage.enter(self)
        made = []
        for self.epoch in range(stage.epochs):
            before = len(self.notes)
            stage.before_epoch(self)
            made.append(len(self.notes) - before)
        return made


def planted(space) -> Planted:
    torch.manual_seed(0)
    return Planted(space, torch.rand(len(space.edges), len(space.ops)))


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_an_edge_gets_the_operation_that_is_missed_most(criterion):
    pause = planted(nas_bench_201)
    # Under equal weights, what is missed most is what is worth most.
    pause.alpha = torch.zeros(6, 5, dtype=torch.float64)
    for row in (4, 1):
        chosen = pt.project(pause, row, criterion=criterion)
        assert chosen == int(pause.worth[row].argmax())
        assert pause.keep[row].nonzero().tolist() == [[chosen]]
    assert pause.at_rest().mix[4].tolist() == [float(column == pause.worth[4].argmax()) for column in range(5)]


def test_what_is_taken_away_is_not_made_up_for():
    pause = planted(nas_bench_201)
    mix = pause.at_rest().mix
    pt.project(pause, 2)
    assert len(pause.seen) == 5
    for column, seen in enumerate(pause.seen):
        expected = mix.clone()
        expected[2, column] = 0
        assert torch.equal(seen, expected)


def test_of_equals_the_first_operation_stays_and_the_last_input_goes():
    pause = Planted(without(darts, "none"), torch.zeros(28, 7))
    assert pt.project(pause, 3) == 0
    pt.disconnect(pause, "normal", 4)
    assert [row for row in range(5, 9) if not pause.keep[row].any()] == [7, 8]


class Entangled(Planted):
    """A pause in which what an input is worth depends on which others are there, as in a network."""

    def measure(self, mix: Tensor) -> HeldOutScore:
        self.seen.append(mix)
        inputs = mix.sum(dim=1)
        accuracy = float(inputs @ self.pairs @ inputs)
        return HeldOutScore(-accuracy, accuracy)


def entangled(seed: int) -> Entangled:
    """Every edge has its operation; which pairs of inputs are worth something is drawn."""
    pause = Entangled(without(darts, "none"), torch.zeros(28, 7))
    generator = torch.Generator().manual_seed(seed)
    pause.pairs = torch.randn(28, 28, generator=generator, dtype=torch.float64)
    pause.keep_now[:, 1:] = False
    return pause


def left_as_released(pause: Planted, rows: list[int], criterion: str) -> list[int]:
    """Which rows of a node are left, as DARTS+PT's code (Wang et al., 2021) decides it.

    Round after round, each row that is left is measured with the weights of all that the node had at first.
    """
    left = list(rows)
    while len(left) > 2:
        goes, extreme = None, None
        for row in left:
            mix = pause.at_rest().mix.clone()
            mix[row] = 0
            found = pause.measure(mix)
            worth = found.score if criterion == "accuracy" else -found.loss
            if extreme is None or worth >= extreme:
                goes, extreme = row, worth
        left.remove(goes)
    return left


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("node", "rows"), [(3, range(2, 5)), (4, range(5, 9)), (5, range(9, 14))])
def test_a_node_keeps_the_inputs_that_the_released_rule_keeps(node: int, rows: range, seed: int, criterion: str):
    pause = entangled(seed)
    rows = [14 + row for row in rows]
    expected = left_as_released(pause, rows, criterion)
    pt.disconnect(pause, "reduce", node, criterion=criterion)
    assert [row for row in rows if pause.keep[row].any()] == expected
    others = [row for row in range(28) if row not in rows]
    assert pause.keep[others].any(dim=1).all()


def test_every_input_of_a_node_is_measured_once_with_all_others_in_place():
    pause = planted(without(darts, "none"))
    pause.keep_now[:, 1:] = False
    mix = pause.at_rest().mix
    pt.disconnect(pause, "reduce", 5)
    rows = torch.arange(14 + 9, 14 + 14)
    left = [row for row in rows.tolist() if pause.keep[row].any()]
    assert left == sorted(rows[pause.worth[rows, 0].argsort(descending=True)[:2]].tolist())
    assert len(pause.seen) == 5
    for row, seen in zip(rows.tolist(), pause.seen, strict=True):
        expected = mix.clone()
        expected[row] = 0
        assert torch.equal(seen, expected)
    assert [len(note["without"]) for note in pause.notes] == [5, 4, 3]


def test_the_decisions_of_the_darts_space_fall_where_the_released_code_has_them():
    space = without(darts, "none")
    train, select = pt.perturbation(space, 50)
    assert (train.epochs, select.epochs) == (50, 81)
    assert dict(select.settings)["lr"] == dict(select.settings)["lr_min"] == 0.0025
    pause = planted(space)
    made = pause.run(select)
    at = [epoch for epoch, count in enumerate(made) if count]
    assert at == list(range(0, 81, 5))
    # Both kinds of cell decide an edge each; then the nodes with three, four and five inputs lose one, two and three.
    assert made[: 5 * 14 : 5] == [2] * 14
    assert sum(made[70:]) == 2 * (1 + 2 + 3)
    assert pause.renewed == 1
    live = [[row for row in range(28) if pause.keep[row].any()]]
    assert len(live[0]) == 16
    assert (pause.keep.sum(dim=1) <= 1).all()


def test_those_of_nas_bench_201_too_the_last_one_an_epoch_early():
    _, select = pt.perturbation(nas_bench_201, 100)
    pause = planted(nas_bench_201)
    made = pause.run(select)
    assert [epoch for epoch, count in enumerate(made) if count] == [0, 5, 10, 15, 20, 24]
    assert pause.keep.sum(dim=1).tolist() == [1] * 6


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("space", [darts, nas_bench_201, s2], ids=lambda space: space.name)
def test_everything_is_decided_at_any_pace(space, every: int):
    _, select = pt.perturbation(space, 3, every=every)
    pause = planted(space)
    pause.run(select)
    assert (pause.keep.sum(dim=1) <= 1).all()
    if space.in_degree is not None:
        none = space.column("none")
        assert none is None or not pause.keep[:, none].any()
        for kind, graph in space.cells.items():
            start = space.rows[kind].start
            for node in range(graph.inputs, graph.nodes):
                assert sum(bool(pause.keep[start + row].any()) for row in graph.incoming(node)) == 2


def test_edges_are_decided_in_an_order_that_is_drawn():
    orders = []
    for shift in range(3):
        pause = planted(nas_bench_201)
        pause.generator = lambda purpose, shift=shift: torch.Generator().manual_seed(100 * shift + len(purpose))
        pause.run(pt.perturbation(nas_bench_201, 1, every=1)[1])
        orders.append(str([note["edge"] for note in pause.notes]))
    assert len(set(orders)) > 1


def test_what_was_measured_is_noted():
    pause = planted(nas_bench_201)
    pt.project(pause, 0)
    (note,) = pause.notes
    assert (note["kind"], note["edge"], note["criterion"]) == ("normal", [0, 1], "accuracy")
    assert set(note["without"]) == set(nas_bench_201.ops)
