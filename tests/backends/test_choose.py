"""Which backend is chosen, and what is said of it."""

import pytest
import torch
from torch import nn
from ways import InPyTorch

from diffnas.backends.choose import Choice, choose, describe
from diffnas.components.supernet_options import SupernetOptions
from diffnas.nets.slot import Slot
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, dense_cell, nas_bench_201

CPU = torch.device("cpu")
PICTURE = torch.zeros(1, 3, 8, 8)


def test_a_backend_that_cannot_be_used_is_an_error_with_the_reason():
    with pytest.raises(
        ValueError, match=r"'gpu' cannot be used: the run computes on cpu\. Take --backend auto or plain"
    ):
        choose("gpu", CPU, "32-true")
    with pytest.raises(ValueError, match=r"unknown backend 'cuda'\."):
        choose("cuda", CPU, "32-true")  # type: ignore[arg-type]


def test_by_itself_the_plain_way_is_taken_where_no_kernel_computes_and_says_why():
    assert choose("auto", CPU, "64-true") == Choice(
        None, "its kernels compute in float32 (32-true), and the run in 64-true"
    )
    assert choose("plain", CPU, "32-true") == Choice(None, None)
    net = Supernet(nas_bench_201, classes=3, channels=4, depth=3)
    assert list(describe(net, choose("auto", CPU, "64-true"), PICTURE)) == [
        "cells run operation by operation, in PyTorch: its kernels compute in float32 (32-true), and the run in 64-true"
    ]


def own(slot: Slot) -> nn.Module:
    return nn.Sequential(nn.Conv2d(slot.width, slot.width, 3, slot.stride, padding=1), nn.Tanh())


def test_a_cell_that_could_be_faster_is_told_with_the_operation_and_its_edge():
    pytest.importorskip("numba")
    cell = dense_cell(inputs=2, nodes=2, ops=("skip_connect", "own"))
    space = SearchSpace(
        name="mine",
        cells={"normal": cell, "reduce": dense_cell(inputs=2, nodes=2, ops=("skip_connect",))},
        ops=("skip_connect", "own"),
        factories={"own": own},
    )
    net = Supernet(space, classes=3, channels=4, depth=4)
    assert list(describe(net, choose("auto", CPU, "32-true"), PICTURE)) == [
        "cells run by the cpu backend",
        "PyTorch computes a part of the cells of the kind 'normal': no kernel knows the operation 'own' on edge 0 -> 2",
    ]
    partial = Supernet(nas_bench_201, classes=3, channels=4, depth=3, options=SupernetOptions(one_in=2))
    assert describe(partial, choose("auto", CPU, "32-true"), PICTURE) == ("cells run by the cpu backend",)
    drawn = Supernet(nas_bench_201, classes=3, channels=4, depth=3, options=SupernetOptions(drawn=True))
    (told,) = describe(drawn, choose("auto", CPU, "32-true"), PICTURE)
    assert told.endswith("which operations run is drawn in every step")


def test_a_backend_that_cannot_train_on_the_pictures_is_told_with_its_reason():
    net = Supernet(nas_bench_201, classes=3, channels=4, depth=3)
    choice = Choice(InPyTorch(), None)
    assert describe(net, choice, PICTURE)[0] == "cells run by the torch backend"
    with torch.autocast("cpu", torch.bfloat16):
        assert describe(net, choice, PICTURE) == (
            "cells run operation by operation, in PyTorch: the torch backend cannot train on these pictures, because "
            "autocast mixes precisions",
        )


def machine(monkeypatch: pytest.MonkeyPatch, *, capability: tuple[int, int], compilers: set[str]) -> None:
    """Stand in for a machine with Triton, one GPU and these C compilers."""
    monkeypatch.setattr("diffnas.backends.choose.find_spec", lambda name: object())
    monkeypatch.setattr("diffnas.backends.choose.shutil.which", lambda name: name if name in compilers else None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.delenv("CC", raising=False)


@pytest.mark.parametrize(
    ("capability", "compilers", "reason"),
    [
        ((7, 5), {"gcc"}, "Triton needs a GPU of compute capability 8.0, and this one has 7.5"),
        ((9, 0), set(), "Triton needs a C compiler, and there is none: install gcc, or name one in the variable CC"),
    ],
)
def test_a_gpu_that_triton_cannot_compile_for_is_used_the_plain_way(monkeypatch, capability, compilers, reason):
    machine(monkeypatch, capability=capability, compilers=compilers)
    assert choose("auto", torch.device("cuda"), "32-true", graph=True) == Choice(None, reason)
    with pytest.raises(ValueError, match=reason.partition(":")[0]):
        choose("gpu", torch.device("cuda"), "32-true", graph=True)


@pytest.mark.parametrize("given", ["clang", "CC"])
def test_triton_takes_any_c_compiler(monkeypatch, given: str):
    machine(monkeypatch, capability=(8, 0), compilers={given})
    monkeypatch.setattr("diffnas.backends.choose._load", lambda name: name)
    if given == "CC":
        monkeypatch.setenv("CC", "/opt/cc")
    assert choose("auto", torch.device("cuda"), "32-true", graph=True).backend == "gpu"
