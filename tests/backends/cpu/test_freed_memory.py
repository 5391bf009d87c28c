"""No kernel reads memory that was freed: where the C library unmaps or overwrites it at once, results are the same."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import torch
from diffnas.backends.cpu.backend import CPU
from diffnas.nets.supernet import Supernet
from diffnas.space import SPACES

torch.set_num_threads(1)
for name, size in (("nas-bench-201", 32), ("darts", 16), ("chain", 32)):
    torch.manual_seed(0)
    space = SPACES[name]
    net = Supernet(space, classes=10, channels=32, depth=space.own_depth or 5).to(memory_format=torch.channels_last)
    net.backend = CPU()
    pictures = torch.randn(4, 3, size, size).to(memory_format=torch.channels_last)
    assert net.backend.why_not(pictures) is None
    mix = torch.full((len(space.edges), len(space.ops)), 0.2, requires_grad=True)
    logits = net(pictures, mix)
    logits.square().sum().backward()
    print(name, logits.double().sum().item(), mix.grad.double().sum().item())
    print(sum(weight.grad.double().abs().sum().item() for weight in net.parameters() if weight.grad is not None))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the variables are those of the C library of Linux")
def test_no_kernel_reads_memory_that_was_freed():
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    unmapped = {**kept, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_PERTURB_": "165"}
    plain, guarded = (
        subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, env=env).stdout
        for env in (kept, unmapped)
    )
    assert guarded == plain
