import pytest
import torch

from diffnas.engine.evaluate import evaluate
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import published
from diffnas.space import darts, s4


@pytest.mark.parametrize(("method", "space"), [("sparse", darts), ("darts", s4)], ids=["single, pruned", "bilevel"])
def test_a_search_that_recomputes_is_the_same_search(quick, method, space):
    kept, again = (
        quick(method, space=space, epochs=1, batch=40, channels=2, recompute=recompute) for recompute in (False, True)
    )
    names = [name for name in kept.trace[0] if name not in ("seconds", "peak_memory")]
    assert [name for name in names if again.trace[0][name] != kept.trace[0][name]] == []
    assert again.genotype == kept.genotype


def test_an_evaluation_that_recomputes_is_the_same_evaluation(data):
    runs = []
    for recompute in (False, True):
        settings = EvaluateSettings(epochs=2, batch=40, channels=4, depth=3, drop_path=0.5, recompute=recompute)
        runs.append(evaluate(published("DARTS_V2"), data, settings=settings, device="cpu"))
    one, other = (run.network.state_dict() for run in runs)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert runs[0].test["loss"] == runs[1].test["loss"]
