"""What a chain holds at once."""

import pytest
import torch

from diffnas.nets.liveness import BYTES, fitting, peak_floats
from diffnas.nets.ops import build
from diffnas.nets.slot import Slot
from diffnas.space import chain


@pytest.mark.parametrize(
    ("op", "maps"), [("none", 1), ("res_3", 3), ("mb_5_1", 3), ("mb_3_3", 7), ("mb_3_6", 13), ("next_7", 6)]
)
def test_an_operation_holds_so_many_maps(op: str, maps: int):
    assert peak_floats(build(op, Slot(width=24)), (24, 16, 16)) == maps * 24 * 16 * 16


def test_a_ceiling_strikes_what_would_break_it_and_keeps_the_rest():
    small = fitting(chain, (3, 32, 32), 100 * 1024, stem="cifar-half")
    assert small.cells["cell0"].ops == small.cells["cell1"].ops == (("none", "res_3"),)
    assert small.cells["cell7"].ops == chain.cells["cell7"].ops
    assert torch.tensor(small.offered).any(dim=1).all()
    for op in small.cells["cell3"].ops[0]:
        assert BYTES * peak_floats(build(op, Slot(width=48)), (48, 8, 8)) <= 100 * 1024


def test_a_ceiling_below_all_operations_is_refused_with_what_one_needs():
    with pytest.raises(ValueError, match=r"holds at most 1,000 bytes; the leanest holds \d"):
        fitting(chain, (3, 32, 32), 1000)
