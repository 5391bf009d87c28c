"""Recurrent nets: golden steps, sizes, masks, the carried state, and stacked products beside single modules."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffnas.components.edge_weights import EdgeWeights
from diffnas.genotype import Cell, Connection, Genotype, read
from diffnas.genotype.own_space import own_space
from diffnas.nets.carried import reading
from diffnas.nets.frames import Dropouts
from diffnas.nets.network import Network, parameters_of
from diffnas.nets.ops import draw_noise_from, drawing, gated
from diffnas.nets.ops.recurrent import Gate
from diffnas.nets.sized import Size, SizedSpace
from diffnas.nets.supernet import Supernet
from diffnas.space import recurrent, recurrent_space

X = torch.tensor([[0.1, -0.2], [0.5, 0.25], [-1.0, 2.0]], dtype=torch.float64)
H = torch.tensor([[0.3, -0.4], [0.0, 0.0], [1.0, -1.0]], dtype=torch.float64)


def _matrix(number: int, rows: int) -> Tensor:
    place = torch.arange(4 * rows, dtype=torch.float64).view(rows, 4)
    return 0.5 * (1 + place + 10 * number).sin()


@torch.no_grad()
def _golden(net: nn.Module) -> nn.Module:
    """The net of two features with the weights of the golden numbers: entry (r, c) of matrix k is a sine."""
    net, frame = net.double(), net.frame
    frame.embedding.weight.copy_(torch.eye(2))
    frame.embedding.bias.zero_()
    first = _matrix(0, 4)
    frame.from_input.weight.copy_(first[:2].T)
    frame.from_state.weight.copy_(first[2:].T)
    (cell,) = net.cells
    for edge, module in zip(cell.graph.edges, cell.edges, strict=True):
        for gate in (each for each in module.modules() if isinstance(each, Gate)):
            gate.product.weight.copy_(_matrix(edge.target, 2).T)
    return net


def _step(net: nn.Module, x: Tensor, h: Tensor, *more) -> Tensor:
    net.frame.carried.states["train"] = h.unsqueeze(0)
    with reading(net, "train"):
        net(x.unsqueeze(1), *more)
    return net.frame.carried.states["train"][0]


def _network(name: str, **more) -> Network:
    return Network(read(name, sequences=True), classes=2, in_channels=2, channels=2, **more)


def _close(found: Tensor, *numbers: float) -> bool:
    return torch.allclose(found, torch.tensor(numbers, dtype=torch.float64), atol=6e-9, rtol=0)


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("DARTS_V1", (0.02761529, -0.02898520)),
        ("DARTS_V2", (0.13434713, 0.08499350)),
        ("ENAS", (0.01069220, -0.01814995)),
    ],
)
def test_a_step_of_a_published_cell_gives_the_golden_state(name, after):
    net = _golden(_network(name))
    seen = []
    net.cells[0].inputs[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    state = _step(net, X[:1], H[:1])
    assert _close(seen[0][0], -0.03126144, -0.29158967)
    assert _close(state[0], *after)
    if name == "DARTS_V2":
        assert _close(_step(net, X[:1], state)[0], 0.14092399, 0.12806866)


def _supernet(**more) -> Supernet:
    return _golden(Supernet(recurrent, classes=2, in_channels=2, channels=2, **more))


def _without_norm(net: Supernet) -> Supernet:
    (cell,) = net.cells
    cell.inputs[0], cell.norm = nn.Identity(), None
    return net


def _alpha() -> Tensor:
    row, column = torch.arange(36.0, dtype=torch.float64).unsqueeze(1), torch.arange(5.0, dtype=torch.float64)
    return (0.1 * (5 * row + column).sin()).softmax(dim=1)


def test_a_step_of_the_supernet_gives_the_golden_states():
    assert _close(_step(_supernet(), X, H, _alpha())[0], -0.96505195, -0.10438497)
    assert _close(_step(_without_norm(_supernet()), X, H, _alpha())[0], 0.66617867, 0.19974676)


@pytest.mark.parametrize("name", ["DARTS_V1", "DARTS_V2"])
def test_a_supernet_with_one_operation_for_each_node_is_the_network(name):
    genotype = read(name, sequences=True)
    mix = torch.zeros(36, 5, dtype=torch.float64)
    for op, source, target in genotype.cells["recurrent"].connections:
        mix[target * (target - 1) // 2 + source, recurrent.ops.index(op)] = 1
    found = _step(_without_norm(_supernet()), X, H, mix)
    assert torch.allclose(found, _step(_golden(_network(name)), X, H), atol=1e-15, rtol=0)


def test_none_on_every_edge_gives_zero_with_and_without_norm():
    mix = torch.eye(5, dtype=torch.float64)[:1].repeat(36, 1)
    for net in (_supernet(), _without_norm(_supernet())):
        assert _step(net, X, H, mix).abs().max() == 0


@pytest.mark.parametrize(
    ("name", "tokens", "width", "parameters"),
    [
        ("DARTS_V2", 10_000, 850, 22_960_000),
        ("DARTS_V2", 33_278, 700, 33_127_878),
        ("ENAS", 10_000, 850, 27_295_000),
    ],
)
def test_networks_have_the_published_sizes(name, tokens, width, parameters):
    with torch.device("meta"):
        net = Network(read(name, sequences=True), classes=tokens, in_channels=tokens, channels=width, tokens=True)
    assert parameters_of(net) == parameters


def test_the_supernet_has_the_published_size_and_cost():
    with torch.device("meta"):
        net = Supernet(recurrent, classes=10_000, in_channels=10_000, tokens=True)
    assert sum(weight.numel() for weight in net.parameters()) == 4_810_000
    cost = SizedSpace(space=recurrent, picture=(1,), classes=50, size=Size(10, 1), sequences={"tokens": True})
    macs = cost.additive("macs")
    assert (macs.base, float(macs.ops[:, 1:].mean()), float(macs.ops[:, 0].sum())) == (4 * 100, 2 * 100, 0)


@pytest.mark.parametrize(("name", "squares"), [("DARTS_V1", 20), ("ENAS", 26), ("lstm", 8), ("gru", 6)])
def test_a_network_costs_so_many_squares_of_its_width_for_a_token(name, squares):
    genotype = read(name, sequences=True)
    at = SizedSpace(space=own_space(genotype), picture=(1,), classes=9, size=Size(7, 1), sequences={"tokens": True})
    assert at.cost(genotype, "macs") == squares * 49
    assert at.cost(genotype, "params") == parameters_of(at.network(genotype))


def test_inputs_of_a_node_share_its_parameters_in_the_count():
    genotype = _several()
    at = SizedSpace(space=own_space(genotype), picture=(1,), classes=9, size=Size(7, 1), sequences={"tokens": True})
    assert at.cost(genotype, "params") == 9 * 7 + 9 + (4 + 2 * 2) * 49
    assert at.cost(genotype, "macs") == (4 + 2 * 3) * 49


def _several() -> Genotype:
    """Cells in which node 2 reads two nodes, and node 3 is dead."""
    connections = Connection("relu", 0, 1), Connection("tanh", 0, 2), Connection("identity", 1, 2)
    cell = Cell(inputs=1, nodes=4, connections=connections, output=(1, 2, 3))
    return Genotype(skeleton="recurrent", cells={"recurrent": cell})


def test_a_node_of_a_network_is_the_mean_of_its_inputs_and_a_dead_node_leaves_the_output():
    net = Network(_several(), classes=2, in_channels=2, channels=2).double()
    (cell,) = net.cells
    first = torch.randn(3, 2, dtype=torch.float64)
    one, two, three = cell.edges
    node1 = one(first, None)
    node2 = (two(first, None) + three(node1, None)) / 2
    assert torch.allclose(cell((first,)), (node1 + node2) / 2)


def test_the_head_of_tokens_is_the_embedding_once():
    net = Network(read("DARTS_V1", sequences=True), classes=9, in_channels=9, channels=4, tokens=True).double()
    ids = torch.randint(9, (2, 3))
    assert [name for name, each in net.state_dict().items() if each.shape == (9, 4)] == ["frame.embedding.weight"]
    matrix = net.frame.embedding.weight
    (whole,) = torch.autograd.grad(net(ids).logits.square().sum(), matrix)
    apart = net.frame.head.forward
    net.frame.head.forward = lambda x, matrix: apart(x, matrix.detach())
    (below,) = torch.autograd.grad(net(ids).logits.square().sum(), matrix)
    net.frame.head.forward = lambda x, matrix: apart(x.detach(), matrix)
    (above,) = torch.autograd.grad(net(ids).logits.square().sum(), matrix)
    assert torch.allclose(whole, below + above)


def _all_gone_but(*left: tuple[int, int]) -> Tensor:
    keep = torch.zeros(36, 5, dtype=torch.bool)
    for place in left:
        keep[place] = True
    return keep


def _random(seed: int) -> Tensor:
    return torch.rand(36, 5, generator=torch.Generator().manual_seed(seed)) > 0.6


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize(
    "keep",
    [torch.ones(36, 5, dtype=torch.bool), _random(0), _random(1), _all_gone_but((0, 1), (3, 2), (4, 1), (35, 0))],
    ids=["all", "some", "others", "few"],
)
def test_stacked_products_give_what_one_operation_after_the_other_gives(keep, share):
    torch.manual_seed(0)
    dropouts = Dropouts(dropouth=share, dropoutx=share)
    net = Supernet(recurrent, classes=9, in_channels=9, channels=4, tokens=True, dropouts=dropouts).double()
    net.prune_(keep)
    ids, mix = torch.randint(9, (5, 3)), (torch.rand(36, 5, dtype=torch.float64) * keep).requires_grad_()
    found = []
    for stacks in (True, False):
        net.cells[0].stacks = stacks
        draw_noise_from(drawing(net), torch.Generator().manual_seed(3))
        logits = net(ids, mix)
        first = torch.autograd.grad(logits.square().sum(), [mix, *net.parameters()], create_graph=True)
        second = torch.autograd.grad(sum(each.square().sum() for each in first), [mix, *net.parameters()])
        found.append([logits, *first, *second])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-10, rtol=1e-10)


def test_stacked_products_agree_where_one_operation_of_each_edge_is_drawn():
    net = Supernet(recurrent, classes=9, in_channels=9, channels=4, tokens=True).double()
    mix = torch.eye(5, dtype=torch.float64)[torch.randint(1, 5, (36,))].requires_grad_()
    weights = EdgeWeights(mix, runs=(mix != 0).tolist())
    first = torch.randn(5, 4, dtype=torch.float64)
    found = []
    for stacks in (True, False):
        net.cells[0].stacks = stacks
        out = net.cells[0]((first,), weights)
        found.append([out, *torch.autograd.grad(out.square().sum() + out[0, 0], mix)])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-10, rtol=1e-10)


def test_an_activation_of_a_users_own_is_stacked_and_one_with_weights_keeps_them_for_each_edge():
    ops = ("none", "gelu", "prelu")
    own = {"gelu": gated(lambda width: nn.GELU()), "prelu": gated(lambda width: nn.PReLU(width))}
    space = recurrent_space(nodes=3, ops=ops, factories=own)
    net = Supernet(space, classes=9, in_channels=9, channels=4, tokens=True).double()
    for weight in net.parameters():
        nn.init.normal_(weight)
    ids, mix = torch.randint(9, (5, 3)), torch.rand(6, 3, dtype=torch.float64)
    stacked = net(ids, mix)
    net.cells[0].stacks = False
    assert torch.allclose(stacked, net(ids, mix), atol=1e-10)
    assert sum(weight.numel() for weight in net.parameters()) == 9 * 4 + 9 + (4 + 3 * 2) * 16 + 6 * 4


def test_what_is_pruned_leaves_the_products_and_the_parameters():
    net = Supernet(recurrent, classes=9, in_channels=9, channels=4, tokens=True).double()
    before = sum(weight.numel() for weight in net.parameters())
    keep = torch.ones(36, 5, dtype=torch.bool)
    keep[20, 1:] = False  # 5 -> 6
    mix = torch.rand(36, 5, dtype=torch.float64) * keep
    ids = torch.randint(9, (5, 3))
    whole, products = net(ids, mix), _products(net, mix)
    net.prune_(keep)
    assert torch.allclose(whole, net(ids, mix), atol=1e-6)
    assert products - _products(net, mix) == 2 * 16
    assert sum(weight.numel() for weight in net.parameters()) == before
    keep[28:, 1:] = False  # all edges into node 8
    mix = mix * keep
    whole = net(ids, mix)
    net.prune_(keep)
    assert torch.allclose(whole, net(ids, mix), atol=1e-6)
    assert before - sum(weight.numel() for weight in net.parameters()) == 2 * 16


def _products(net: Supernet, mix: Tensor) -> int:
    """Multiply-adds of the nodes for one step and one sequence, counted where they are computed."""
    counted = []
    gates = [module for module in net.modules() if isinstance(module, Gate)]
    handles = [
        gate.product.register_forward_hook(
            lambda layer, inputs, output: counted.append(layer.weight.numel() * inputs[0].numel() // 4)
        )
        for gate in gates
    ]
    net(torch.zeros(2, 1, dtype=torch.long), mix)
    for handle in handles:
        handle.remove()
    return sum(counted) // 2


def _language(**shares: float) -> Network:
    dropouts = Dropouts(**shares)
    return Network(
        read("DARTS_V1", sequences=True), classes=50, in_channels=50, channels=16, tokens=True, dropouts=dropouts
    )


def test_all_nodes_and_steps_of_a_window_see_one_mask_and_the_next_window_another():
    net = _language(dropouth=0.5)
    gates = [module for module in net.modules() if isinstance(module, Gate)]
    masks = []
    for _ in range(2):
        net(torch.zeros(3, 4, dtype=torch.long))
        assert all(gate.mask is gates[0].mask for gate in gates)
        masks.append(gates[0].mask)
    assert masks[0].shape == (3, 16)
    assert not torch.equal(*masks)


@pytest.mark.parametrize("name", Dropouts._fields)
def test_each_dropout_changes_training_and_nothing_in_evaluation(name):
    net, ids = _language(**{name: 0.5}), torch.randint(50, (3, 4))
    assert not torch.equal(net(ids).logits, net(ids).logits)
    evaluated = net.eval()(ids).logits
    net.frame.dropouts = Dropouts()
    assert torch.equal(evaluated, net.train()(ids).logits)


def test_a_masked_value_is_the_value_in_the_mean():
    masks = _language().frame.masks
    kept = masks.draw((40_000,), 0.75, torch.zeros(1))
    assert set(kept.tolist()) == {0.0, 4.0}
    assert abs(float(kept.mean()) - 1) < 3 * float(kept.std()) / 200


def test_masks_come_from_the_generator():
    net, ids = _language(dropouth=0.5, dropoute=0.5, dropout=0.5), torch.randint(50, (3, 4))
    draw_noise_from(drawing(net), torch.Generator().manual_seed(1))
    first = net(ids).logits
    draw_noise_from(drawing(net), torch.Generator().manual_seed(1))
    assert torch.equal(first, net(ids).logits)


@pytest.mark.parametrize("name", ["DARTS_V2", "lstm", "gru"])
def test_windows_with_a_carried_state_give_what_one_long_window_gives(name):
    net = Network(read(name, sequences=True), classes=9, in_channels=9, channels=4, tokens=True).double().eval()
    ids = torch.randint(9, (2, 12))
    whole = net(ids).logits
    with reading(net, "judged"):
        parts = [net(part).logits for part in ids.split(5, dim=1)]
    assert torch.allclose(whole, torch.cat(parts, dim=1), rtol=1e-6)
    assert not net.frame.carried.states["judged"].requires_grad


@pytest.mark.parametrize("name", ["DARTS_V2", "lstm", "gru"])
def test_steps_after_the_end_of_a_sequence_leave_its_label_alone(name):
    net = Network(read(name, sequences=True), classes=3, in_channels=2, channels=4).eval()
    x = torch.randn(2, 5, 2)
    longer = torch.cat([x, torch.full((2, 3, 2), torch.nan)], dim=1)
    assert torch.allclose(net(x).logits, net(longer).logits, atol=1e-6)
    assert net(x).logits.shape == (2, 3)


def test_a_forecast_has_a_vector_after_each_step():
    net = Network(read("DARTS_V1", sequences=True), classes=2, in_channels=2, channels=4, forecast=True)
    assert net(torch.randn(3, 5, 2)).logits.shape == (3, 5, 2)


def test_a_batch_of_one_is_refused_in_the_training_of_a_supernet():
    net, mix = Supernet(recurrent, classes=9, in_channels=9, channels=4, tokens=True), torch.full((36, 5), 0.2)
    with pytest.raises(ValueError, match=r"a batch of 1 has no variance\. Take --batch 2 or more"):
        net(torch.zeros(1, 3, dtype=torch.long), mix)


def test_initial_weights_are_drawn_evenly_from_a_range():
    for start, bound in ((0.04, 0.04), (None, 0.25)):
        net = Supernet(recurrent, classes=50, in_channels=50, channels=16, tokens=True, start=start)
        matrices = [weight for weight in net.parameters() if weight.dim() == 2]
        assert len(matrices) == 11
        assert all(0.9 * bound < float(weight.detach().abs().max()) <= bound for weight in matrices)
        assert not net.frame.head.bias.any()


def test_a_copied_supernet_computes_by_itself():
    net, mix = Supernet(recurrent, classes=9, in_channels=9, channels=4, tokens=True), torch.full((36, 5), 0.2)
    ids = torch.randint(9, (2, 3))
    before = net(ids, mix)
    other = copy.deepcopy(net)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    assert torch.equal(before, net(ids, mix))
    assert not other(ids, mix).any()


def test_a_supernet_without_edges_is_the_bias_of_its_head():
    net = Supernet(recurrent, classes=9, in_channels=9, channels=4, tokens=True)
    nn.init.normal_(net.frame.head.bias)
    net.prune_(_all_gone_but(*((row, 0) for row in range(36))))
    logits = net(torch.randint(9, (2, 3)), torch.full((36, 5), 0.2))
    assert torch.equal(logits, net.frame.head.bias.expand_as(logits))


def test_a_network_in_training_multiplies_the_inputs_of_a_node_at_once():
    cells = read("Genotype(recurrent=[('tanh', 0), ('relu', 1), ('tanh', 0), ('identity', 2)], concat=range(1, 5))")
    (cell,) = cells.cells.values()
    more = (*cell.connections, Connection("relu", 1, 3), Connection("relu", 0, 4), Connection("tanh", 2, 4))
    joined = replace(cell, connections=tuple(sorted(more, key=lambda each: (each.target, each.source, each.op))))
    found = replace(cells, cells={"recurrent": joined})
    net = Network(found, classes=5, in_channels=5, channels=3, tokens=True).double()
    x, (searched,), results = torch.randint(0, 5, (2, 4)), net.frame.cells, []
    for stacks in (True, False):
        searched.stacks = stacks
        net.zero_grad()
        net(x).logits.square().sum().backward()
        results.append([net(x).logits.detach(), *(weight.grad.clone() for weight in net.parameters())])
        assert searched.stacked is not None or not stacks
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
