import os
import subprocess
import sys

import pytest
import torch

from diffnas.parallel import alone, for_pytorch, in_parallel


@pytest.mark.parametrize(("threads", "pictures"), [(1, 5), (2, 5), (3, 7), (4, 2), (3, 1)])
def test_every_picture_is_handled_once(threads, pictures):
    torch.set_num_threads(threads)
    done = []
    in_parallel(lambda first, last: done.extend(range(first, last)), pictures)
    assert sorted(done) == list(range(pictures))


def test_threads_can_be_ours_alone():
    torch.set_num_threads(2)
    done = []
    with alone(3):
        assert torch.get_num_threads() == 1
        in_parallel(lambda first, last: done.append((first, last)), 6)
        with for_pytorch():
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 1
    assert sorted(done) == [(0, 2), (2, 4), (4, 6)]
    assert torch.get_num_threads() == 2


def test_an_error_in_a_helper_thread_is_raised():
    def fail(first: int, last: int) -> None:
        if first > 0:
            raise RuntimeError("broken")

    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="broken"):
        in_parallel(fail, 4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_starts_its_own_threads():
    script = """
import os, torch
from diffnas.parallel import alone, in_parallel
torch.set_num_threads(3)
def check():
    done = []
    in_parallel(lambda first, last: done.append((first, last)), 7)
    assert sorted(done) == [(0, 2), (2, 4), (4, 7)], done
check()
child = os.fork()
if child == 0:
    check()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)
