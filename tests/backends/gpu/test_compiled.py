"""The kernels as an H100 runs them: compiled for it, which needs Triton and no GPU."""

import importlib
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

from diffnas.backends.gpu import depthwise_kernels, kernels, launches, pointwise_kernels, pool_kernels  # noqa: E402

H100 = GPUTarget("cuda", 90, 32)
ALIGNED = [["tt.divisibility", 16]]


class Compiled(NamedTuple):
    """A kernel's code in NVIDIA's assembler for abstract machines, and what its registers could not hold, in bytes."""

    ptx: str
    spilled: int


# Arguments that are neither pointers to float32 nor constants. A table of convolutions is not a table of addresses.
TYPES: dict[str, str | tuple[str, ...]] = {
    **dict.fromkeys(
        ("pictures", "map_stride", "pixels", "chunk", "chunks", "members", "weights", "most", "longer", "measured"),
        "i32",
    ),
    **dict.fromkeys(("grads", "K", "T", "added"), "i32"),
    **dict.fromkeys(("which", "rows", "normed", "ends"), "*i32"),
    "table": ("i64",) * 8,
    "buffers": "*i64",
    **dict.fromkeys(("eps", "unbiased"), "fp32"),
}


def compiled(kernel: Any, constants: dict[str, Any], tmp_path: Path, **types: str) -> Compiled:
    """A kernel, compiled for an H100 with these constants; ``types`` are those that differ from the usual ones."""
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else (TYPES | types).get(name, "*fp32") for name in names}
    aligned = {
        path: ALIGNED
        for at, name in enumerate(names)
        if signature[name] not in ("constexpr", "fp32")
        for path in ([(at, n) for n in range(8)] if isinstance(signature[name], tuple) else [(at,)])
    }
    source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()}, aligned)
    ptx = triton.compile(source, target=H100).asm["ptx"]
    file = tmp_path / "kernel.ptx"
    file.write_text(ptx)
    ptxas = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    command = [ptxas, "-v", "--gpu-name", "sm_90a", file, "-o", tmp_path / "kernel.cubin"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return Compiled(ptx, sum(int(size) for size in re.findall(r"(\d+) bytes spill", told)))


@pytest.mark.parametrize("case", [(3, 1), (5, 2), (5, 1), (3, 5, 1)], ids=str)
@pytest.mark.parametrize("name", ["separable", "depthwise_input", "depthwise_weight"])
def test_a_depthwise_kernel_loads_four_channels_at_once_and_keeps_nan(name: str, case, tmp_path: Path):
    *sizes, stride = case
    after, bits = 32 // stride, {"KERNELS": sum(1 << size for size in sizes)}
    shape = {"rows": after, "columns": after, "H": 32, "W": 32, "C": 16, "stride": stride}
    own = {
        "separable": bits | launches.tile(16) | {"OUTER": 16, "D": 16, "PRECISION": "tf32"},
        "depthwise_input": bits | launches.tile(16, launches.TILE // 2),
        "depthwise_weight": {"WIDTHS": sum(map(launches.width, sizes)), "NUMBERS": launches.TILE, "CHANNELS": 16},
    }
    made = compiled(getattr(depthwise_kernels, name), shape | own[name], tmp_path, table="*i32")
    assert "ld.global.v4.b32" in made.ptx
    assert "max.NaN.f32" in made.ptx
    assert "max.f32" not in made.ptx
    assert made.spilled == 0


@pytest.mark.parametrize("name", ["moments", "join", "mixed", "reduce", "settle", "spread"])
def test_a_kernel_of_mixed_sums_keeps_all_in_registers(name: str, tmp_path: Path):
    kernel = getattr(kernels, name)
    constants = {"C": 16, "PAIRED": False, **launches.tile(16)}
    made = compiled(kernel, {name: constants[name] for name in kernel.arg_names if name in constants}, tmp_path)
    assert made.spilled == 0
    if name in ("moments", "mixed", "reduce", "spread"):
        assert "ld.global.v4.b32" in made.ptx


@pytest.mark.parametrize("precision", ["tf32", "tf32x3"])
@pytest.mark.parametrize("channels", [16, 64])
def test_the_backward_pass_of_1x1_convolutions_runs_on_tensor_cores(channels: int, precision: str, tmp_path: Path):
    constants = {
        "C": channels, "D": channels, "LEARN": True, "PRECISION": precision,
        "PIXELS": launches.TILE // (2 * channels), "INNER": channels, "OUTER": channels,
    }  # fmt: skip
    made = compiled(pointwise_kernels.through, constants, tmp_path)
    assert "mma.sync" in made.ptx or "wgmma" in made.ptx
    assert "ld.global.v4.b32" in made.ptx
    assert made.spilled == 0


@pytest.mark.parametrize("channels", [16, 64])
def test_separable_convolutions_in_float32_keep_all_in_registers(channels: int, tmp_path: Path):
    constants = {
        "rows": 8, "columns": 8, "H": 8, "W": 8, "C": channels, "stride": 1, "KERNELS": 1 << 3, "D": channels,
        "PRECISION": "tf32x3", "OUTER": channels, **launches.tile(channels),
    }  # fmt: skip
    assert compiled(depthwise_kernels.separable, constants, tmp_path, table="*i32").spilled == 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["pool", "pool_backward"])
def test_a_kernel_of_pools_loads_four_channels_at_once(name: str, stride: int, tmp_path: Path):
    kernel, after = getattr(pool_kernels, name), 32 // stride
    constants = {
        "rows": after, "columns": after, "H": 32, "W": 32, "C": 16, "stride": stride, "SAME": 3,
        "MAX": True, "AVERAGE": True, **launches.tile(16),
    }  # fmt: skip
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    made = compiled(kernel, constants, tmp_path, where="*i8")
    assert "ld.global.v4.b32" in made.ptx
    assert made.spilled == 0


@pytest.mark.parametrize("case", [(3, 1, 32, 16), (5, 1, 32, 16), (5, 2, 32, 16), (1, 1, 8, 64)], ids=str)
@pytest.mark.parametrize("name", ["forward", "input_grad", "weight_grad"])
def test_a_banded_kernel_runs_on_tensor_cores(name: str, case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    rows, stride, size, channels = case
    after, whole = size // stride, size <= 8
    constants = {
        "K": rows, "STRIDE": stride, "C": channels, "H": size, "W": size, "HO": after, "WO": after, "WHOLE": whole,
        "BEFORE": size**2 if whole else size, "AFTER": after**2 if whole else after, "ROWS": 128, "PRECISION": "tf32",
    }  # fmt: skip
    made = compiled(getattr(importlib.import_module("banded"), name), constants, tmp_path, table="*i32")
    assert "mma.sync" in made.ptx or "wgmma" in made.ptx
    assert made.spilled == 0
