"""CPU kernels, compiled by Numba at their first call: import them only where they are used."""
