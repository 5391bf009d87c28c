"""What two processes tell one another, checked in each of them."""

import pytest
import torch

from diffnas.engine.launch import here, joined
from diffnas.engine.listen import Diverged
from diffnas.engine.ranks import Ranks


def talk(ranks: Ranks) -> None:
    me = ranks.number
    assert (ranks.count, ranks.here, ranks.local, ranks.first) == (2, 2, me, me == 0)
    assert ranks.agree(me * 15) == 15
    assert ranks.broadcast({"from": me}) == {"from": 0}
    assert ranks.gather(me) == [0, 1]
    assert ranks.total(torch.tensor([1.0, me])).tolist() == [2.0, 1.0]
    assert ranks.worst(2.0) == 2.0
    worst = ranks.worst(float("inf") if me else 2.0)
    assert worst != worst if me == 0 else worst == float("inf")
    # Three pictures here and one there; two kinds of tensors.
    single, double = ranks.mean([torch.full((2, 2), 4.0 * me), torch.full((3,), 4.0 * me).double()], 3 if me else 1)
    assert torch.equal(single, torch.full((2, 2), 3.0))
    assert torch.equal(double, torch.full((3,), 3.0).double())
    buffers = [torch.tensor([2.0 * me]), torch.tensor(7)]
    ranks.mean_buffers_(buffers)
    assert buffers == [torch.tensor([1.0]), torch.tensor(7)]


def gradients(ranks: Ranks) -> None:
    """The second weight has a gradient in one process only, the third in none."""
    weights = [torch.zeros(1, 2, 3, 3).to(memory_format=torch.channels_last) for _ in range(3)]
    weights[0].grad = torch.full_like(weights[0], 2.0 * ranks.number)
    if ranks.first:
        weights[1].grad = torch.ones_like(weights[1])
    kept = weights[0].grad
    (also,) = ranks.mean_gradients_(weights, 1.0, [torch.tensor([4.0 * ranks.number])])
    assert weights[0].grad is kept, "in place"
    assert (kept == 1).all()
    assert weights[1].grad is not None
    assert (weights[1].grad == 0.5).all()
    assert weights[1].grad.stride() == weights[1].stride()
    assert weights[2].grad is None
    assert also.tolist() == [2.0]


def difference(ranks: Ranks) -> None:
    ranks.check_same({"alpha": torch.zeros(2), "keep": [True, {"a": 1}]}, "epoch 1")
    parts = {"alpha": torch.zeros(2), "keep": torch.tensor([True, ranks.first])}
    with pytest.raises(Diverged, match="after epoch 2 keep is not the same in the processes 0 and 1"):
        ranks.check_same(parts, "epoch 2")


def check_talk(ranks: Ranks) -> None:
    """All of the above, and that the processes are launched once."""
    assert here() is ranks
    assert joined(None) is ranks
    with pytest.raises(ValueError, match="4 processes are asked for, by devices and nodes, and this run has 2"):
        joined(2, 2)
    for check in (talk, gradients, difference):
        check(ranks)
    print(f"process {ranks.number} is content", flush=True)
