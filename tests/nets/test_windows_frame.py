"""Transformers of sequences: what a window may read, what padding changes, and what the nets cost."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffnas.genotype import Genotype, parse
from diffnas.genotype.own_space import own_space
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.ops import count_macs
from diffnas.nets.sized import Size, SizedSpace
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, transformer, transformer_graph, transformer_space

LAYERS = parse("transformer | attn_4 | mlp_4 | window_4 | glu_2 | sepconv_3 | none | pool_5 | mlp_1")
READINGS: dict[str, dict[str, Any]] = {"text": {"tokens": True}, "forecast": {"forecast": True}, "labelled": {}}


def made(what: Genotype | SearchSpace, kind: str, window: int = 20, inputs: int = 7) -> nn.Module:
    """A net in float64 whose weights are all drawn."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"classes": inputs, "in_channels": inputs, "channels": 8, "picture": (window,)}
    sizes |= READINGS[kind]
    net = Supernet(what, depth=2, **sizes) if isinstance(what, SearchSpace) else Network(what, **sizes)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.5)
    return net.double().eval()


def outputs(net: nn.Module, x: Tensor) -> Tensor:
    found = net(x)
    return found if isinstance(found, Tensor) else found.logits


def steps(kind: str, count: int = 20) -> Tensor:
    drawn = torch.Generator().manual_seed(0)
    if kind == "text":
        return torch.randint(7, (2, count), generator=drawn)
    return torch.randn(2, count, 7, generator=drawn, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["text", "forecast"])
@pytest.mark.parametrize("what", [LAYERS, transformer, transformer_graph], ids=["network", "supernet", "graph"])
def test_what_is_predicted_does_not_depend_on_what_comes_later(what: Genotype | SearchSpace, kind: str) -> None:
    net, x = made(what, kind), steps(kind)
    before = outputs(net, x)
    for last in (0, 15, 18):
        changed = x.clone()
        changed[:, last + 1 :] = 6 - changed[:, last + 1 :]
        after = outputs(net, changed)
        assert torch.equal(before[:, : last + 1], after[:, : last + 1])
        assert not torch.equal(before[:, last + 1], after[:, last + 1])


@pytest.mark.parametrize("what", [LAYERS, transformer, transformer_graph], ids=["network", "supernet", "graph"])
def test_padding_does_not_change_what_is_said_of_a_sequence(what: Genotype | SearchSpace) -> None:
    net, x = made(what, "labelled"), steps("labelled")
    x[0, 7:] = torch.nan
    both = outputs(net, x)
    torch.testing.assert_close(both[:1], outputs(net, x[:1, :7]))
    torch.testing.assert_close(both[1:], outputs(net, x[1:]))


def test_the_backward_pass_that_computes_again_knows_what_is_real() -> None:
    x = steps("labelled")
    x[0, 7:] = torch.nan
    found = []
    for recompute in (False, True):
        net = made(LAYERS, "labelled").train()
        net.recompute = recompute
        outputs(net, x).square().sum().backward()
        found.append([weight.grad for weight in net.parameters()])
    for kept, again in zip(*found, strict=True):
        torch.testing.assert_close(kept, again)


def test_a_label_is_read_off_the_mean_of_the_real_steps() -> None:
    net, x = made(LAYERS, "labelled"), steps("labelled")
    x[0, 7:] = torch.nan
    seen: list[Tensor] = []
    net.frame.norm.register_forward_hook(lambda module, inputs, output: seen.append(output[:, :, 0].mT))
    found = outputs(net, x)
    mean = torch.stack([seen[0][0, :7].mean(0), seen[0][1].mean(0)])
    torch.testing.assert_close(found, net.frame.head(mean))


def test_the_logits_of_tokens_are_products_with_their_embeddings() -> None:
    net, x = made(parse("transformer | none | none | none | none"), "text"), steps("text")
    frame = net.frame
    stream = frame.embedding.weight[x] + frame.positions.values[:, 0].mT
    normed = nn.functional.layer_norm(stream, (8,), frame.norm.weight, frame.norm.bias, 1e-6)
    torch.testing.assert_close(outputs(net, x), normed @ frame.embedding.weight.T + frame.head.bias)


@pytest.mark.parametrize("kind", ["text", "forecast"])
def test_a_shorter_window_has_the_first_positions(kind: str) -> None:
    net, x = made(LAYERS, kind), steps(kind)
    for count in (1, 16, 19):
        torch.testing.assert_close(outputs(net, x[:, :count]), outputs(net, x)[:, :count])


def test_a_longer_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"21 steps are too many: this transformer has positions for 20\. Cut"):
        outputs(made(LAYERS, "text"), steps("text", 21))


def test_a_pool_with_learned_weights_is_refused_on_sequences() -> None:
    with pytest.raises(ValueError, match="pool of the steps of a sequence 'attend'"):
        made(transformer_space(pool="attend"), "labelled")


@pytest.mark.parametrize(("kind", "inputs"), [("text", 50), ("forecast", 3), ("labelled", 3)])
def test_a_network_has_the_weights_and_costs_that_its_formulas_say(kind: str, inputs: int) -> None:
    d, n = 12, 40
    picture = (n,) if kind == "text" else (n, inputs)
    sizes: dict[str, Any] = {"classes": inputs, "in_channels": inputs, "channels": d, "picture": (n,)}
    genotype = parse("transformer | attn_4 | mlp_4 | sepconv_7 | none")
    net = Network(genotype, **sizes, **READINGS[kind])
    places = 65 if kind == "labelled" else 33  # distances up to 32, before and after or only before
    branches = [4 * d * d + 4 * d + 4 * places, 8 * d * d + 5 * d, 4 * d * d + 14 * d + 5 * d]
    around = inputs * d + inputs if kind == "text" else 2 * inputs * d + d + inputs
    assert parameters_of(net) == sum(branches) + 3 * (3 * d) + n * d + 2 * d + around
    products = [n * 4 * d * d + 2 * n * n * d, n * 8 * d * d, n * (4 * d * d + 14 * d)]
    linear = {"text": 0, "forecast": 2 * n * inputs * d, "labelled": n * inputs * d + inputs * d}[kind]
    assert count_macs(net, picture) == sum(products) + linear
    reading: Any = READINGS[kind]
    at = SizedSpace(space=own_space(genotype), picture=picture, classes=inputs, size=Size(d, 2), sequences=reading)
    assert (at.cost(genotype, "params"), at.cost(genotype, "macs")) == (parameters_of(net), count_macs(net, picture))


def test_a_window_of_one_token_and_a_batch_of_one_work() -> None:
    net = made(LAYERS, "text", window=1)
    assert outputs(net.train(), steps("text", 1)[:1]).isfinite().all()
