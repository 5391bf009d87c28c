from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted import Stop, assert_same
from torch import nn

from diffnas.data import DataSet
from diffnas.engine.evaluate import evaluate
from diffnas.engine.listen import Interrupted
from diffnas.engine.optimizers import follow_, optimizer_of, weights_of
from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.genotype import parse
from diffnas.method import METHODS

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
RESNET = parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|")


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_an_optimizer_steps_as_that_of_torch_with_the_same_numbers(name: str, decay: str):
    settings = SearchSettings(optimizer=name, lr=0.1, momentum=0.8, weight_decay=0.5, decay=decay)
    own, plain = net(), net()
    plain.load_state_dict(own.state_dict())
    ours = optimizer_of(own.parameters(), settings)
    spared = [] if decay == "all" else [each for each in plain.parameters() if each.ndim == 1]
    decaying = [each for each in plain.parameters() if decay == "all" or each.ndim > 1]
    groups = [{"params": decaying}, {"params": spared, "weight_decay": 0.0}]
    moments = {"momentum": 0.8} if name == "sgd" else {"betas": (0.8, 0.999)}
    theirs = KINDS[name](groups, lr=0.1, weight_decay=0.5, **moments)
    for step in range(3):
        x = torch.full((2, 3), step + 0.5)
        for module, optimizer in ((own, ours), (plain, theirs)):
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(own.state_dict(), plain.state_dict())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_an_optimizer_forgets_what_left_the_module_and_keeps_the_rest(name: str, decay: str):
    module = net()
    optimizer = optimizer_of(module.parameters(), SearchSettings(optimizer=name, decay=decay))
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    kept = optimizer.state[module[0].weight]
    module[2] = nn.Identity()
    follow_(optimizer, module.parameters())
    assert set(weights_of(optimizer)) == set(module.parameters()) == set(optimizer.state)
    assert optimizer.state[module[0].weight] is kept


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_search_with_adam_goes_on_bit_for_bit(quick, tmp_path: Path, name: str):
    options = {"epochs": 3, "optimizer": name, "decay": "matrices", "lr": 0.003, "alpha_lr": 0.1}
    quick("sparse", out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        quick("sparse", out=tmp_path / "parts", listener=Stop(8), **options)
    quick("sparse", out=tmp_path / "parts", resume=True, **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_an_evaluation_learns_with_adamw_otherwise_than_with_sgd(data: DataSet):
    tiny = EvaluateSettings(epochs=1, batch=40, channels=4, depth=3, lr=0.01)
    losses = [
        evaluate(RESNET, data, settings=replace(tiny, optimizer=name), device="cpu").trace[0]["train"]["loss"]
        for name in ("sgd", "adamw")
    ]
    assert losses[0] != losses[1]


def test_nesterov_without_sgd_is_refused():
    with pytest.raises(ValueError, match="nesterov is for sgd, and the optimizer is adamw"):
        EvaluateSettings(optimizer="adamw", nesterov=True)


def test_a_level_that_looks_ahead_by_a_step_of_sgd_refuses_another_optimizer(quick):
    with pytest.raises(ValueError, match=r"looks ahead by a step of SGD .* Take --optimizer sgd"):
        quick(METHODS["darts-2nd"], optimizer="adam")


def test_adam_remembers_two_numbers_for_each_weight():
    names = {"sgd": {}, "sgd without momentum": {"momentum": 0.0}, "adam": {"optimizer": "adam"}}
    assert [SearchSettings(**each).remembered for each in names.values()] == [1, 0, 2]
