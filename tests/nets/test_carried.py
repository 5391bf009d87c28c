"""States of streams: each begins at zero, goes on from window to window, and passes through a checkpoint."""

import torch
from torch import Tensor, nn

from diffnas.nets.carried import Carried, carried, forget, reading, restore


class Counter(nn.Module):
    """A net whose state counts the windows that it has read."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Carried()

    def forward(self) -> Tensor:
        before = self.state.read(torch.zeros(1, 2, 3))
        self.state.write(before + 1)
        return before.mean()


def _read(net: nn.Module, stream: str, keep: bool = True) -> float:
    with reading(net, stream, keep=keep):
        return float(net())


def test_each_stream_has_its_own_state_which_goes_on_from_window_to_window():
    net = Counter()
    assert [_read(net, "train"), _read(net, "train"), _read(net, "held_out"), _read(net, "train")] == [0, 1, 0, 2]


def test_a_window_outside_of_streams_begins_at_zero_and_leaves_nothing():
    net = Counter()
    assert (float(net()), float(net()), carried(net)) == (0, 0, {})


def test_a_forgotten_stream_begins_at_zero_and_the_others_go_on():
    net = Counter()
    for stream in ("train", "held_out"):
        _read(net, stream)
    forget(net, "held_out")
    assert (_read(net, "held_out"), _read(net, "train")) == (0, 1)


def test_a_pass_may_leave_the_state_where_it_was():
    net = Counter()
    assert [_read(net, "train", keep=False), _read(net, "train"), _read(net, "train", keep=False)] == [0, 0, 1]


def test_restored_states_are_those_that_were_carried():
    net, other = Counter(), Counter()
    _read(net, "train")
    kept = {stream: [each.clone() for each in states] for stream, states in carried(net).items()}
    _read(net, "train")
    restore(other, kept)
    assert _read(other, "train") == 1


def test_nothing_happens_to_a_net_without_a_state():
    net = nn.Linear(1, 1)
    with reading(net, "train"):
        pass
    forget(net, "train")
    restore(net, carried(net))
    assert carried(net) == {}
