"""Changed supernets against cells written out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.backends.gpu.graphs import uses_graph
from diffnas.components.edge_weights import EdgeWeights, edge_weights
from diffnas.components.schedule import Moment
from diffnas.components.supernet_options import SupernetOptions
from diffnas.nets.cell import Cell
from diffnas.nets.ops import DroppedSkip, FactorizedReduce, drop_skips
from diffnas.nets.partial_channels import shuffled
from diffnas.nets.supernet import Supernet
from diffnas.space import NAS_BENCH_201_OPS, darts, dense_cell, nas_bench_201

START = Moment(epoch=0, step=0, epochs=1, steps=1)


def size(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (SupernetOptions(one_in=4), 299_578),
        (SupernetOptions(auxiliary=1.0), 1_971_578),
        (SupernetOptions(dropout=0.3), 1_930_618),
    ],
    ids=str,
)
def test_changed_supernets_have_the_sizes_of_the_released_code(options: SupernetOptions, expected: int):
    with torch.device("meta"):
        assert size(Supernet(darts, classes=10, options=options)) == expected


@pytest.mark.parametrize("depth", [5, 11, 17])
def test_deeper_supernets_have_the_sizes_of_the_released_code(depth: int):
    with torch.device("meta"):
        assert size(Supernet(darts, classes=10, depth=depth)) == {5: 1_275_834, 11: 2_585_146, 17: 3_894_202}[depth]


def cell(options: SupernetOptions, *, reduces: bool) -> tuple[Cell, Tensor, list[Tensor], Tensor]:
    """A cell of the DARTS space, its weights, what its input nodes hold, and its output."""
    torch.manual_seed(0)
    net = Supernet(darts, classes=2, channels=8, depth=3, options=options).double()
    made = net.cells[1 if reduces else 0]
    mix = torch.rand(len(made.graph.edges), 9, dtype=torch.float64)
    older, newer = torch.randn(2, 3, 24, 5, 5, dtype=torch.float64)
    if reduces:
        newer = torch.randn(3, 32, 5, 5, dtype=torch.float64)
    inputs = [prepare(x) for prepare, x in zip(made.inputs, (older, newer), strict=True)]
    weights = EdgeWeights(
        ops=mix[:, :8],
        auxiliary=None if options.auxiliary is None else mix[:, 8],
        passing=mix[:, -1] if options.one_in > 1 else None,
    )
    return made, mix, inputs, made((older, newer), weights)


def operations(made: Cell, mix: Tensor, row: int, x: Tensor) -> Tensor:
    """The weighted sum of the eight operations of an edge, ``none`` being zeros."""
    edge = made.edges[row]
    return torch.stack([mix[row, column] * edge.ops[str(column)](x) for column in range(1, 8)]).sum(0)


@pytest.mark.parametrize("reduces", [False, True], ids=["normal", "reduce"])
def test_partial_channels_are_those_of_a_cell_built_by_hand(reduces: bool):
    made, mix, values, output = cell(SupernetOptions(one_in=4), reduces=reduces)
    channels = values[0].shape[1]
    # Channel c goes to (c mod C/K) K + c div (C/K).
    place = [(c % (channels // 4)) * 4 + c // (channels // 4) for c in range(channels)]
    for node in range(2, 6):
        total = torch.tensor(0.0)
        for row in made.graph.incoming(node):
            source = made.graph.edges[row].source
            first, rest = values[source][:, : channels // 4], values[source][:, channels // 4 :]
            if reduces and source < 2:
                rest = F.max_pool2d(F.pad(rest, (0, 1, 0, 1), value=-torch.inf), 2)
            # The strength of the edge is in the weights of its operations already.
            joined = torch.cat([operations(made, mix, row, first), mix[row, 8] * rest], dim=1)
            edge = torch.empty_like(joined)
            edge[:, place] = joined
            total = total + edge
        values.append(total)
    torch.testing.assert_close(output, torch.cat(values[2:], dim=1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reduces", [False, True], ids=["normal", "reduce"])
def test_an_auxiliary_skip_is_added_to_every_edge(reduces: bool):
    made, mix, values, output = cell(SupernetOptions(auxiliary=1.0), reduces=reduces)
    for node in range(2, 6):
        terms = []
        for row in made.graph.incoming(node):
            source = made.graph.edges[row].source
            halves = reduces and source < 2
            auxiliary = made.edges[row].ops["8"]
            assert type(auxiliary) is (FactorizedReduce if halves else nn.Identity)
            assert auxiliary is not made.edges[row].ops["3"]
            skipped = auxiliary(values[source]) if halves else values[source]
            terms.append(operations(made, mix, row, values[source]) + mix[row, 8] * skipped)
        values.append(torch.stack(terms).sum(0))
    torch.testing.assert_close(output, torch.cat(values[2:], dim=1), rtol=1e-10, atol=1e-10)


def test_only_skips_that_keep_the_resolution_are_dropped():
    net = Supernet(darts, classes=10, channels=4, depth=3, options=SupernetOptions(dropout=0.5))
    skips = [
        (made.stride == 2 and edge.source < 2, mixed.ops["3"])
        for made in net.cells
        for edge, mixed in zip(made.graph.edges, made.edges, strict=True)
    ]
    assert all(type(skip) is (FactorizedReduce if halves else DroppedSkip) for halves, skip in skips)


def test_dropped_skips_lose_their_share_and_keep_their_mean():
    torch.manual_seed(0)
    skip = nn.Sequential(DroppedSkip())
    x = torch.ones(1, 10, 100, 100)
    assert skip(x) is x
    drop_skips(skip, 0.4)
    dropped = skip(x)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / 0.6)]
    assert (dropped == 0).float().mean().item() == pytest.approx(0.4, abs=0.01)
    assert torch.equal(skip.eval()(x), x)


def test_the_auxiliary_skip_is_never_pruned():
    net = Supernet(nas_bench_201, classes=10, channels=4, depth=3, options=SupernetOptions(one_in=2, auxiliary=1.0))
    net.prune_(torch.zeros(6, 5, dtype=torch.bool))
    assert all(list(edge.ops) == ["5"] for made in net.cells for edge in made.edges)


def test_an_auxiliary_skip_and_bypassing_channels_have_separate_weights():
    mix = torch.rand(6, 5, requires_grad=True)
    found = edge_weights(mix, SupernetOptions(auxiliary=0.3, one_in=2), START)
    assert found.ops is mix
    assert found.auxiliary.tolist() == pytest.approx([0.3] * 6)
    assert found.passing.tolist() == [1.0] * 6
    assert edge_weights(mix, SupernetOptions(), START) == EdgeWeights(mix, None, None)


@pytest.mark.parametrize(
    "options", [SupernetOptions(one_in=2), SupernetOptions(auxiliary=1.0)], ids=["partial", "skip"]
)
def test_a_supernet_refuses_weights_without_those_of_its_skip_or_bypassing_channels(options: SupernetOptions):
    net = Supernet(nas_bench_201, classes=3, channels=4, depth=3, options=options)
    with pytest.raises(ValueError, match=r"weights of (the auxiliary skip|passing channels) must be \(6,\), got None"):
        net(torch.zeros(2, 3, 8, 8), torch.ones(6, 5))
    net(torch.zeros(2, 3, 8, 8), edge_weights(torch.ones(6, 5), options, START))


def test_shuffling_is_that_of_torch():
    x = torch.randn(2, 12, 3, 4)
    for groups in (2, 3, 4):
        assert torch.equal(shuffled(*x.tensor_split((12 // groups,), dim=1)), F.channel_shuffle(x, groups))


def test_channels_that_cannot_be_shared_out_are_refused():
    with pytest.raises(ValueError, match="1 in 4 of 6 channels is not a whole number"):
        Supernet(darts, classes=10, channels=6, depth=3, options=SupernetOptions(one_in=4))


@pytest.mark.parametrize("share", [0, -1, 2.5])
def test_a_share_is_a_whole_number(share):
    with pytest.raises(ValueError, match="whole number from 1 on"):
        SupernetOptions(one_in=share)


def one_drawn(edges: int, column: int) -> Tensor:
    """Weights of which one an edge is 1, one after the other from ``column`` on, and the rest 0."""
    return F.one_hot((torch.arange(edges) + column) % 8, 8).double().requires_grad_()


def drawn_weights(mix: Tensor) -> EdgeWeights:
    return EdgeWeights(ops=mix, runs=(mix != 0).tolist())


@pytest.mark.parametrize("reduces", [False, True], ids=["normal", "reduce"])
@pytest.mark.parametrize("column", range(8))
def test_of_drawn_operations_the_others_only_add_their_weights(column: int, reduces: bool):
    made, _, values, _ = cell(SupernetOptions(drawn=True), reduces=reduces)
    mix = one_drawn(14, column)
    kept = [prepare.eval() for prepare in made.eval().inputs]
    torch.manual_seed(1)
    older, newer = torch.randn(2, 3, 24, 5, 5, dtype=torch.float64)
    newer = torch.randn(3, 32, 5, 5, dtype=torch.float64) if reduces else newer
    values = [prepare(x) for prepare, x in zip(kept, (older, newer), strict=True)]
    for node in range(2, 6):
        terms = []
        for row in made.graph.incoming(node):
            source, drawn = made.graph.edges[row].source, (row + column) % 8
            stride = 2 if reduces and source < 2 else 1
            x = values[source]
            result = made.edges[row].ops[str(drawn)](x) * mix[row, drawn] if drawn else x[:, :, ::stride, ::stride] * 0
            others = [mix[row, other] for other in range(8) if other != drawn]
            terms.append(result + torch.stack(others).sum())
        values.append(torch.stack(terms).sum(0))
    expected, found = torch.cat(values[2:], dim=1), made((older, newer), drawn_weights(mix))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    upstream = torch.randn_like(found)
    (grad,), (by_hand,) = (torch.autograd.grad((each * upstream).sum(), mix) for each in (found, expected))
    torch.testing.assert_close(grad, by_hand, rtol=1e-10, atol=1e-10)


def test_the_weight_of_what_was_not_drawn_gets_the_sum_of_the_gradient_of_the_map():
    graph = dense_cell(inputs=1, nodes=1, ops=NAS_BENCH_201_OPS, output="last")
    space = replace(nas_bench_201, cells={"normal": graph})
    net = Supernet(space, classes=3, channels=4, depth=3, options=SupernetOptions(drawn=True)).double()
    made, x = net.cells[0], torch.randn(2, 4, 6, 6, dtype=torch.float64)
    upstream = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    mix = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad((made((x,), drawn_weights(mix)) * upstream).sum(), mix)
    summed, drawn = upstream.sum().item(), (upstream * x).sum().item()
    assert grad[0].tolist() == pytest.approx([summed, drawn, summed, summed, summed])


def test_operations_that_were_not_drawn_are_not_trained():
    net = Supernet(darts, classes=3, channels=4, depth=3, options=SupernetOptions(drawn=True))
    mix = torch.cat([one_drawn(14, 4), one_drawn(14, 4)]).float()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    net(torch.randn(4, 3, 8, 8), mix).sum().backward()
    seen = 0
    for index, made in enumerate(net.cells):
        start = darts.rows[made.kind].start
        for row, edge in enumerate(made.edges):
            for column, op in edge.ops.items():
                ran = mix[start + row, int(column)] == 1
                assert all((weight.grad is not None) == ran for weight in op.parameters())
                prefix = f"frame.cells.{index}.edges.{row}.ops.{column}."
                same = [torch.equal(b, before[prefix + name]) for name, b in op.named_buffers()]
                assert not any(same) if ran else all(same)
                seen += len(same)
    assert seen


def test_drawn_operations_have_no_cuda_graph():
    net = Supernet(darts, classes=10, channels=4, depth=3, options=SupernetOptions(drawn=True))
    with pytest.raises(ValueError, match="cuda_graph cannot be used: which operations run is drawn in every step"):
        uses_graph(True, net, torch.device("cuda"), recompute=False)
