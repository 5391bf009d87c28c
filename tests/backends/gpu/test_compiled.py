"""The kernels as an H100 runs them: compiled for it, which needs Triton and no GPU."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton compiles nothing while it interprets", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from diffnas.backends.gpu import kernels, launches  # noqa: E402

H100 = GPUTarget("cuda", 90, 32)
ALIGNED = [["tt.divisibility", 16]]


class Compiled(NamedTuple):
    """A kernel's code in NVIDIA's assembler for abstract machines, and what its registers could not hold, in bytes."""

    ptx: str
    spilled: int


def compiled(kernel: Any, constants: dict[str, Any], *, numbers: tuple[str, ...] = (), tmp_path: Path, **options: int):
    """A kernel, compiled for an H100.

    Args:
        kernel: the kernel.
        constants: its constants, by name.
        numbers: its arguments that are numbers; the others are pointers to float32, or to int64 if called ``table``.
        tmp_path: where files go.
        options: such as ``num_warps``.
    """
    types = {name: "i32" if name in numbers else "*fp32" for name in kernel.arg_names}
    types |= dict.fromkeys(constants, "constexpr") | {name: "*i64" for name in types if name in ("table", "results")}
    attributes = {(at,): ALIGNED for at, name in enumerate(kernel.arg_names) if name not in constants}
    source = ASTSource(kernel, types, {(kernel.arg_names.index(name),): c for name, c in constants.items()}, attributes)
    ptx = triton.compile(source, target=H100, options=options).asm["ptx"]
    file = tmp_path / "kernel.ptx"
    file.write_text(ptx)
    ptxas = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    command = [ptxas, "-v", "--gpu-name", "sm_90a", file, "-o", tmp_path / "kernel.cubin"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return Compiled(ptx, sum(int(size) for size in re.findall(r"(\d+) bytes spill", told)))


def sizes(channels: int, size: int, kernel: int, stride: int, dilation: int) -> dict[str, int]:
    after = (size - 1) // stride + 1
    return {
        "rows": after, "columns": after, "H": size, "W": size, "C": channels,
        "kernel": kernel, "stride": stride, "padding": dilation * (kernel - 1) // 2, "dilation": dilation,
    }  # fmt: skip


NUMBERS = ("map_stride", "pixels", "chunk", "members", "chunks", "K")


@pytest.mark.parametrize("geometry", [(3, 1, 1), (5, 2, 1), (5, 1, 2)], ids=str)
@pytest.mark.parametrize("name", ["depthwise", "depthwise_input", "depthwise_weight"])
def test_a_depthwise_kernel_loads_four_channels_at_once_and_keeps_nan(name: str, geometry, tmp_path: Path):
    kernel, stride, dilation = geometry
    share = {"depthwise": 1, "depthwise_input": 2, "depthwise_weight": launches.width(kernel)}[name]
    constants = sizes(16, 32, kernel, stride, dilation) | launches.tile(16, launches.TILE // share)
    if name == "depthwise_weight":
        constants["TAPS"] = launches.width(kernel)
    made = compiled(getattr(kernels, name), constants, numbers=NUMBERS, tmp_path=tmp_path)
    assert "ld.global.v4.b32" in made.ptx
    assert "max.NaN.f32" in made.ptx
    assert "max.f32" not in made.ptx
    assert made.spilled == 0
