"""How a cell is computed fast on a GPU: kernels in Triton, CUDA graphs, and copies to the host."""
