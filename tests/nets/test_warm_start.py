"""Weights of an earlier supernet in a new one."""

from pathlib import Path

import pytest
import torch

from diffnas.nets.supernet import Supernet
from diffnas.nets.warm_start import from_run, transplant_
from diffnas.space import darts, nas_bench_201


def supernet(space=nas_bench_201, seed: int = 0, **sizes) -> Supernet:
    torch.manual_seed(seed)
    return Supernet(space, **{"classes": 4, "channels": 4, "depth": 3, **sizes})


@pytest.mark.parametrize("space", [nas_bench_201, darts], ids=lambda space: space.name)
def test_everything_of_an_equal_supernet_is_taken(space):
    old, new = supernet(space), supernet(space, seed=1)
    old.train()(torch.rand(4, 3, 8, 8))  # running statistics of its own
    taken = transplant_(new, old.state_dict(), "the old one")
    assert taken[0] == taken[1]
    assert str(taken).endswith("100% of the parameters, were taken")
    for one, other in zip(old.state_dict().values(), new.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_removed_operations_and_another_head_and_stem_begin_anew():
    old, new = supernet(), supernet(seed=1, classes=7, in_channels=1)
    old.prune_(torch.tensor(nas_bench_201.offered) & (torch.arange(5) != 3))
    fresh = {name: weight.clone() for name, weight in new.named_parameters()}
    taken = transplant_(new, old.state_dict(), "the old one")
    stay = [name for name, weight in new.named_parameters() if torch.equal(weight, fresh[name])]
    assert {name for name in stay if "cells" not in name} >= {"frame.stem.first.0.weight", "frame.head.4.weight"}
    assert all(".ops.3." in name for name in stay if "cells" in name and "edges" in name)
    assert 0 < taken.tensors < taken.of_tensors


def test_a_wider_supernet_takes_the_leading_channels_of_each_node_that_a_layer_reads():
    old, new = supernet(darts, depth=4), supernet(darts, seed=1, channels=6, depth=4)
    fresh = new.cells[3].inputs[1][1].weight.detach().clone()
    transplant_(new, old.state_dict(), "the old one")
    before, after = (net.cells[3].inputs[1][1].weight.detach() for net in (old, new))
    nodes = 4
    narrow, wide = before.unflatten(1, (nodes, -1)), after.unflatten(1, (nodes, -1))
    rows, columns = narrow.shape[0], narrow.shape[2]
    assert torch.equal(wide[:rows, :, :columns], narrow)
    assert torch.equal(wide[rows:], fresh.unflatten(1, (nodes, -1))[rows:])
    head, other = (net.frame.head[-1].weight.detach().unflatten(1, (nodes, -1)) for net in (old, new))
    assert torch.equal(other[:, :, : head.shape[2]], head)


def test_a_narrower_supernet_takes_nothing_of_its_cells_and_says_what_it_needs():
    with pytest.raises(ValueError, match=r"no weight of the cells in the old one fits .* as many channels or fewer"):
        transplant_(supernet(), supernet(channels=8).state_dict(), "the old one")


def test_another_space_is_refused():
    with pytest.raises(ValueError, match=r"needs frame\.cells\.0\.edges"):
        transplant_(supernet(), supernet(darts).state_dict(), "the old one")


def test_a_folder_without_good_weights_is_refused(tmp_path: Path):
    def begin(folder: str) -> None:
        from_run(supernet(), (torch.rand(2, 3, 8, 8), torch.zeros(2)), torch.Generator(), folder=folder)

    with pytest.raises(ValueError, match="is not a run folder"):
        begin(str(tmp_path))
    run = tmp_path / "run"
    (run / "checkpoint").mkdir(parents=True)
    (run / "run.json").write_text('{"schema": "diffnas/run", "version": 2, "settings": {}}')
    with pytest.raises(ValueError, match="has no checkpoint, and so no weights"):
        begin(str(run))
    (run / "checkpoint" / "last.pt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"the weights in .*last.pt cannot be read"):
        begin(str(run))
