"""The banded kernels, which a visit to a GPU times: in Triton's interpreter, or on a GPU."""

import importlib
import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a CUDA GPU, or TRITON_INTERPRET=1 with Triton; there is none here", allow_module_level=True)
pytest.importorskip("triton")

# Kernels and dilations that are computed together: one number of rows of taps.
SMALL, LARGE = ((3, 1), (3, 2)), ((5, 1), (5, 2))
CASES = {
    "16x16": (2, 16, 16, 1, SMALL),
    "16x16, halving": (2, 16, 16, 2, LARGE),
    "14x13": (1, 14, 13, 1, LARGE),
    "15x20, halving": (1, 15, 20, 2, SMALL),
    "8x8": (3, 8, 8, 1, SMALL + LARGE),
    "7x7, halving": (3, 7, 7, 2, SMALL + LARGE),
    "1x4": (2, 1, 4, 1, SMALL),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("shared", [True, False], ids=["one map", "own maps"])
def test_banded_products_are_depthwise_convolutions(case, shared: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    timings = importlib.import_module("depthwise")
    pictures, height, width, stride, geometries = case
    made = timings.Banded(
        geometries, channels=2, size=(height, width), stride=stride, pictures=pictures, shared=shared, device=DEVICE,
        precision="ieee",
    )  # fmt: skip
    x, rate, shift = (tensor.double().requires_grad_() for tensor in (made.x, made.rate, made.shift))
    normed = x * rate[..., None, None, None] + shift[..., None, None, None]
    normed.retain_grad()
    weights, results = [weight.double().requires_grad_() for weight in made.weights], []
    for n, ((kernel, dilation), weight) in enumerate(zip(geometries, weights, strict=True)):
        source, padding = normed[0 if shared else n].transpose(0, 1), dilation * (kernel - 1) // 2
        convolved = F.conv2d(source.relu(), weight[:, None], None, stride, padding, dilation, groups=2)
        results.append(convolved.transpose(0, 1))
    torch.stack(results).backward(made.grad.double())
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(made.forward(), torch.stack(results).float(), **close)
    torch.testing.assert_close(made.input_grad(), normed.grad.float(), **close)
    expected = torch.cat([weight.grad.float().flatten() for weight in weights])
    torch.testing.assert_close(made.weight_grad(), expected, rtol=1e-5, atol=1e-4)
