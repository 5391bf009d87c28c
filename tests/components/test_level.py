import pytest
import torch
from torch import Tensor

from diffnas.components import level
from diffnas.components.level import Batch

TRAIN: Batch = (torch.zeros(1), torch.zeros(1))
HELD_OUT: Batch = (torch.ones(1), torch.ones(1))


class Recorded:
    """A step that writes down what a level does with it."""

    train, held_out = TRAIN, HELD_OUT

    def __init__(self, frozen: bool = False) -> None:
        self.frozen = frozen
        self.done: list[str] = []

    def _name(self, batch: Batch) -> str:
        return "train" if batch is TRAIN else "held out"

    def alpha_gradient(self, batch: Batch) -> list[Tensor]:
        self.done.append(f"alpha gradient on {self._name(batch)}")
        return [torch.zeros(1)]

    def weight_gradient(self, batch: Batch) -> None:
        self.done.append(f"weight gradient on {self._name(batch)}")

    def both_gradients(self, batch: Batch) -> list[Tensor]:
        self.done.append(f"both gradients on {self._name(batch)}")
        return [torch.zeros(1)]

    def move_alpha(self, gradients: list[Tensor]) -> None:
        self.done.append("move alpha")

    def move_weights(self) -> None:
        self.done.append("move weights")


def test_a_single_level_takes_both_gradients_from_one_pass_over_the_training_batch():
    step = Recorded()
    level.single.step(step)
    assert step.done == ["both gradients on train", "move alpha", "move weights"]
    assert level.single.data == "whole"


def test_two_levels_move_alpha_on_held_out_pictures_before_the_weights():
    step = Recorded()
    level.bilevel.step(step)
    assert step.done == ["alpha gradient on held out", "move alpha", "weight gradient on train", "move weights"]
    assert level.bilevel.data == "halves"


def test_two_levels_may_move_the_weights_first():
    step = Recorded()
    level.weights_first.step(step)
    assert step.done == ["weight gradient on train", "move weights", "alpha gradient on held out", "move alpha"]
    assert level.weights_first.data == "halves"


@pytest.mark.parametrize("two_levels", [level.bilevel, level.weights_first], ids=["bilevel", "weights first"])
def test_two_levels_leave_held_out_pictures_alone_while_alpha_is_frozen(two_levels: level.Level):
    step = Recorded(frozen=True)
    two_levels.step(step)
    assert step.done == ["weight gradient on train", "move weights"]
