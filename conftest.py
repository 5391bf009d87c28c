"""What the tests leave out where something is not installed."""

from importlib.util import find_spec

# Triton comes with PyTorch for CUDA.
NEED_TRITON = (
    *("backend", "chains", "depthwise_kernels", "kernels", "launches", "pointwise_kernels", "pool_kernels", "pools"),
    *("stage", "sums"),
)
collect_ignore_glob = [] if find_spec("triton") else [f"src/diffnas/backends/gpu/{name}.py" for name in NEED_TRITON]
