"""A search finds the same cells whichever way its supernet goes forward."""

import pytest
import torch

from diffnas.engine.search import SearchResult
from diffnas.nets import fused
from diffnas.space import darts, nas_bench_201

# alpha moves fast enough for operations to be removed.
SHORT = {"epochs": 2, "batch": 40, "alpha_lr": 0.02, "lr": 0.005}

SEARCHES = {
    "sparse, nas-bench-201": (nas_bench_201, "sparse", 0),
    "darts, nas-bench-201": (nas_bench_201, "darts", 0),
    "sparse, darts": (darts, "sparse", 3),
    "darts, darts": (darts, "darts", 2),
}


def assert_one_result(fast: SearchResult, plain: SearchResult, *, pruned: bool) -> None:
    assert fast.genotype == plain.genotype
    assert [line["genotype"] for line in fast.trace] == [line["genotype"] for line in plain.trace]
    assert [line["keep"] for line in fast.trace] == [line["keep"] for line in plain.trace]
    live = [line["indicators"]["live_ops"] for line in fast.trace]
    offered = len(plain.trace[0]["keep"]) * len(plain.trace[0]["keep"][0])
    assert (live[-1] < offered) == pruned


@pytest.mark.parametrize(("space", "method", "seed"), SEARCHES.values(), ids=SEARCHES)
def test_in_double_precision_the_whole_course_is_the_same(quick, space, method: str, seed: int):
    """Where rounding is out of the way, alpha is the same to 13 decimals."""
    options = {**SHORT, "epochs": 1, "space": space, "seed": seed, "precision": "64-true"}
    fast, plain = (quick(method, forward_by=how, **options) for how in ("batched", "plain"))
    assert_one_result(fast, plain, pruned=method == "sparse")
    alphas = [torch.tensor([line["alpha"] for line in result.trace], dtype=torch.float64) for result in (fast, plain)]
    torch.testing.assert_close(*alphas, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("space", "method", "seed"), SEARCHES.values(), ids=SEARCHES)
def test_with_compiled_kernels_the_found_cells_are_the_same(quick, space, method: str, seed: int):
    """In a run so short that float32's rounding, which a search amplifies some tenfold in a few steps, stays small."""
    pytest.importorskip("numba")
    assert fused.compiled_kernels() is not None
    fast, plain = (quick(method, forward_by=how, space=space, seed=seed, **SHORT) for how in ("auto", "plain"))
    assert_one_result(fast, plain, pruned=method == "sparse")


def test_by_itself_a_search_takes_the_fast_way(quick):
    pytest.importorskip("numba")
    unasked, fast, plain = (
        quick("sparse", epochs=1, batch=60, **options)
        for options in ({}, {"forward_by": "batched"}, {"forward_by": "plain"})
    )
    told = [result.trace[0]["alpha"] for result in (unasked, fast, plain)]
    assert told[0] == told[1] != told[2]
