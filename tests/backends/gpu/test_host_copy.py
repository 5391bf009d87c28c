import pytest
import torch

from diffnas.backends.gpu.host_copy import HostCopy
from diffnas.engine import running_search as engine

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU; there is none here")


class Slow(HostCopy):
    """Every copy takes two steps to arrive, as one from a busy GPU may."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def _arrived(self):
        self.steps += 1
        return super()._arrived() if self.steps % 4 == 0 else None


def test_a_copy_that_arrives_is_the_tensor_that_was_sent_and_not_a_later_one():
    copy, sent = Slow(), torch.zeros(1)
    received = [copy.exchange(sent + step) for step in range(6)]
    assert [float(each) for each in received if each is not None] == [0.0, 2.0, 4.0]


def test_a_copy_does_not_follow_its_original():
    original = torch.ones(2)
    copy = HostCopy().exchange(original)
    original.zero_()
    assert copy.tolist() == [1.0, 1.0]


@NEEDS_GPU
def test_a_copy_from_a_gpu_arrives_when_the_gpu_is_done():
    copy, tensor = HostCopy(), torch.arange(3, device="cuda")
    first = copy.exchange(tensor)
    torch.cuda.synchronize()
    assert (copy.exchange(tensor) if first is None else first).tolist() == [0, 1, 2]


@pytest.mark.parametrize("how", [HostCopy, Slow])
def test_freeing_later_gives_the_same_search(quick, monkeypatch: pytest.MonkeyPatch, how):
    monkeypatch.setattr(engine, "HostCopy", how)
    now, later = (quick("sparse", epochs=3, free=free) for free in ("now", "later"))
    assert sum(map(sum, now.trace[-1]["keep"])) < 30, "nothing was removed: the test shows nothing"
    assert later.genotype == now.genotype
    for one, other in zip(now.trace, later.trace, strict=True):
        assert (one["keep"], one["parameters"], one["macs"]) == (other["keep"], other["parameters"], other["macs"])
        assert other["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=1e-4)
