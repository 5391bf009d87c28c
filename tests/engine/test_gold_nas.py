import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted import Stop, assert_same
from torch.nn import functional

from diffnas.components import regularizer
from diffnas.components.control import growing
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Interrupted
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import load
from diffnas.method import gold_nas
from diffnas.nets.auxiliary import Output
from diffnas.nets.costs import operation_macs
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, dense_cell, with_own_cells

OPS = ("skip_connect", "sep_conv_3x3")
CELL = dense_cell(inputs=2, nodes=2, ops=OPS)
SMALL = SearchSpace(name="small", cells={"normal": CELL, "reduce": CELL}, ops=OPS)
OWN = with_own_cells(SMALL, 3)

# alpha so fast, and the penalty so strong from the first, that operations leave within a few epochs.
QUICK = {**gold_nas.settings, "epochs": 8, "batch": 60, "channels": 2, "depth": 3, "alpha_lr": 20.0, "auxiliary": 0.4}
HASTY = replace(gold_nas, family=lambda history, space: [0, len(history) - 2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gold") / "run"


def nodes() -> dict[tuple[str, int], list[int]]:
    found: dict[tuple[str, int], list[int]] = {}
    for row, (kind, edge) in enumerate(OWN.edges):
        found.setdefault((kind, edge.target), []).append(row)
    return found


def small_shares(alpha: list[list[float]], keep: list[list[bool]]) -> list[tuple[float, int, int]]:
    """The shares of all that is kept, the smallest first, from logits, written out."""
    listed = []
    for rows in nodes().values():
        inside = {(r, c): 1 / (1 + math.exp(-alpha[r][c])) for r in rows for c in range(2) if keep[r][c]}
        listed += [(part / sum(inside.values()), r, c) for (r, c), part in inside.items()]
    return sorted(listed)


def test_a_search_prunes_cell_by_cell_and_its_lines_tell_what_is_left(quick, folder: Path):
    result = quick(HASTY, space=SMALL, out=folder, **QUICK)
    costs = operation_macs(OWN, (1, 8, 8), channels=2)
    keep = OWN.offered
    total = sum(map(sum, costs))
    for line in result.trace:
        gone = [(r, c) for r in range(15) for c in range(2) if keep[r][c] and not line["keep"][r][c]]
        keep = line["keep"]
        left = sum(cost for row, mask in zip(costs, keep, strict=True) for cost, k in zip(row, mask, strict=True) if k)
        assert line["macs_left"] == pytest.approx(left / total)
        # After the end of an epoch nothing is left below the lower bound; and with fewer than four gone, nothing below
        # the upper one.
        smallest = small_shares(line["alpha"], keep)[0][0]
        assert smallest > 0.01
        assert smallest > 0.05 or len(gone) >= 4
    live = [line["indicators"]["live_ops"] for line in result.trace]
    assert live[-1] < live[0] <= 30
    kept = [
        (OWN.ops[c], edge.source, edge.target, kind)
        for (kind, edge), row in zip(OWN.edges, keep, strict=True)
        for c in range(2)
        if row[c]
    ]
    cells = result.genotype.cells.items()
    assert kept == [(*connection, kind) for kind, cell in cells for connection in cell.connections]
    assert growing(result.trace[:1], OWN) == 2e-5


def test_the_family_lies_in_the_run_folder_and_can_be_evaluated(quick, data, tmp_path: Path):
    out = tmp_path / "run"
    result = quick(HASTY, space=SMALL, out=out, **{**QUICK, "epochs": 3})
    assert [member.epoch for member in result.family] == [0, 1]
    files = sorted((out / "family").glob("epoch-*"))
    assert [path.name for path in files] == ["epoch-0000.json", "epoch-0001.json"]
    settings = EvaluateSettings(epochs=1, batch=60, channels=2, drop_path=0.0, auxiliary=0.0)
    for member, path in zip(result.family, files, strict=True):
        assert load(path) == member.genotype
        assert member.path == path
        assert json.loads(path.read_text())["schema"] == "diffnas/genotype"
    assert math.isfinite(evaluate(load(files[0]), data, settings=settings, device="cpu").test["loss"])


def test_a_search_that_was_killed_goes_on_with_the_same_penalty(quick, tmp_path: Path):
    settings = {**QUICK, "epochs": 4}
    quick(gold_nas, space=SMALL, out=tmp_path / "whole", **settings)
    with pytest.raises(Interrupted):
        quick(gold_nas, space=SMALL, out=tmp_path / "parts", listener=Stop(5), **settings)
    quick(gold_nas, space=SMALL, out=tmp_path / "parts", resume=True, **settings)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_the_auxiliary_head_speaks_in_training_only_and_its_loss_counts(quick):
    torch.manual_seed(0)
    net = Supernet(OWN, classes=10, in_channels=1, channels=2, auxiliary=True)
    x, mix = torch.randn(4, 1, 8, 8), torch.full((15, 2), 0.5)
    assert isinstance(net.eval()(x, mix), torch.Tensor)
    output = net.train()(x, mix)
    assert isinstance(output, Output)
    assert output.logits.shape == output.auxiliary.shape == (4, 10)
    loss = functional.cross_entropy(output.auxiliary, torch.arange(4))
    loss.backward()
    assert all(weight.grad is None for weight in net.frame.head.parameters())
    assert all(weight.grad is not None for weight in net.cells[2].parameters()), "it stands on the third cell of three"
    with_head, without = (quick(gold_nas, space=SMALL, **{**QUICK, "epochs": 2, "auxiliary": a}) for a in (0.4, 0.0))
    assert with_head.trace[0]["parameters"] == without.trace[0]["parameters"], "papers do not count it"
    assert with_head.trace[1]["train"]["loss"] != without.trace[1]["train"]["loss"]


def test_a_cost_that_counts_drives_out_what_is_dear(quick):
    def left(mu: float) -> dict[str, Any]:
        rule = partial(regularizer.resources, weight=0.02, mu=mu)
        trace = quick(replace(gold_nas, regularizers=(rule,)), space=SMALL, **{**QUICK, "epochs": 4}).trace
        return trace[-1]

    free, dear = left(0.0), left(1000.0)
    assert dear["macs_left"] < free["macs_left"]
