"""Float32 on a CPU, by kernels that Numba compiles."""
