from collections.abc import Callable

import numpy

from diffnas.engine.search import SearchResult
from diffnas.space import nas_bench_201

Search = Callable[..., SearchResult]

# A fifth of 10 epochs is two; alpha so fast that every edge is decided before the end.
QUICK = {"epochs": 10, "alpha_warmup": 0.2, "prune_every": "epoch", "alpha_lr": 1.0, "batch": 60}


def test_asap_cools_prunes_below_the_threshold_and_ends_when_all_is_decided(quick: Search):
    result = quick("asap", **QUICK)
    trace = result.trace
    assert result.stopped == "every edge is decided"
    start = numpy.array(trace[0]["alpha"])
    keep = numpy.ones((6, 5), dtype=bool)
    for line in trace:
        epoch, alpha = line["epoch"], numpy.array(line["alpha"])
        temperature = 1.6 * 0.95 ** (5 * epoch)
        # Nothing moves or leaves while the temperature is 1 or more.
        assert (alpha == start).all() == (temperature >= 1)
        if temperature < 1:
            power = numpy.exp(alpha / temperature) * keep
            keep &= power / power.sum(axis=1, keepdims=True) >= 0.4 / 5
        assert line["keep"] == keep.tolist()
        power = numpy.exp(alpha / temperature) * keep
        assert numpy.allclose(line["mix"], power / power.sum(axis=1, keepdims=True), atol=1e-12)
    assert keep.sum(axis=1).tolist() == [1] * 6
    ops = [nas_bench_201.ops[row.argmax()] for row in keep]
    left = [(op, *edge) for op, (_, edge) in zip(ops, nas_bench_201.edges, strict=True) if op != "none"]
    assert [tuple(connection) for connection in result.genotype.cells["normal"].connections] == left


def test_entmax_goes_with_the_grace_period_of_asap(quick: Search):
    trace = quick("sparse", epochs=5, alpha_warmup=0.4, alpha_lr=0.05, batch=60).trace
    live = [line["indicators"]["live_ops"] for line in trace]
    assert trace[0]["alpha"] == trace[1]["alpha"] != trace[2]["alpha"]
    assert live[:2] == [30, 30]
    assert live[-1] < 30
