"""Kernels for a GPU, in Triton; import them only where there is one."""
