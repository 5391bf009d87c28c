from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from diffnas.components.entmax import entmax
from diffnas.genotype import Cell, Connection, Genotype
from diffnas.nets import ops as operations
from diffnas.nets.frames.nas_bench_201 import ResidualBlock
from diffnas.nets.network import Network
from diffnas.nets.ops import FactorizedReduce, count_macs, relu_conv_norm
from diffnas.nets.slot import Slot
from diffnas.nets.supernet import Supernet
from diffnas.space import SearchSpace, darts, dense_cell, nas_bench_201, s1, s2

SPACES = {"darts": darts, "nas-bench-201": nas_bench_201, "s1": s1}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def made(space: SearchSpace, *, channels: int = 4, depth: int = 3, seed: int = 0, **options) -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Supernet(space, classes=10, channels=channels, depth=depth, **options)


def pictures(count: int = 3, channels: int = 3, size: tuple[int, int] = (8, 8)) -> Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(1))


def random_mix(space: SearchSpace, seed: int = 2) -> Tensor:
    offered = torch.tensor(space.offered)
    return torch.rand(offered.shape, generator=torch.Generator().manual_seed(seed)) * offered


def total(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize(
    ("space", "classes", "expected"), [(darts, 10, 1_930_618), (darts, 100, 1_953_748), (nas_bench_201, 10, 1_692_826)]
)
def test_the_published_supernets_have_the_published_sizes(space: SearchSpace, classes: int, expected: int):
    with torch.device("meta"):
        assert total(Supernet(space, classes=classes)) == expected


# The slow, obvious twin: every operation, rebuilt from the public table with the supernet's own weights, in a sum
# written as the papers write it.


class Twin(nn.Module):
    """The relaxed net by recursion over nodes; it shares no code with the supernet but the operations themselves."""

    def __init__(self, space: SearchSpace, channels: int, depth: int) -> None:
        super().__init__()
        self.space, self.on_darts = space, space.skeleton == "darts"
        before = previous = 3 * channels if self.on_darts else channels
        self.stem = nn.Sequential(nn.Conv2d(3, previous, 3, padding=1, bias=False), nn.BatchNorm2d(previous))
        self.cells = nn.ModuleList()
        after_reduction = False
        for index in range(depth):
            reduces = index in (depth // 3, 2 * depth // 3)
            channels *= 2 if reduces else 1
            if not self.on_darts and reduces:
                cell: nn.Module = ResidualBlock(previous, channels)
                before, previous = previous, channels
            else:
                cell = self._cell(before, previous, channels, reduces, after_reduction)
                before, previous = previous, (4 if self.on_darts else 1) * channels
            self.cells.append(cell)
            after_reduction = reduces
        first = [] if self.on_darts else [nn.BatchNorm2d(previous), nn.ReLU()]
        self.head = nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(previous, 10))

    def _cell(self, before: int, previous: int, channels: int, reduces: bool, after_reduction: bool) -> nn.Module:
        cell = nn.Module()
        cell.kind = "reduce" if reduces else "normal"
        cell.inputs = nn.ModuleList([nn.Identity()])
        if self.on_darts:
            older = (
                FactorizedReduce if after_reduction else lambda *args, affine: relu_conv_norm(*args, 1, affine=affine)
            )
            newer = relu_conv_norm(previous, channels, 1, affine=False)
            cell.inputs = nn.ModuleList([older(before, channels, affine=False), newer])
        cell.edges = nn.ModuleList()
        graph = self.space.cells[cell.kind]
        for edge, offered in zip(graph.edges, graph.ops, strict=True):
            stride = 2 if reduces and edge.source < graph.inputs else 1
            cell.edges.append(
                nn.ModuleDict(
                    {
                        op: operations.build(op, Slot(width=channels, stride=stride, pool_norm=self.on_darts))
                        for op in offered
                    }
                )
            )
        return cell

    def _node(self, cell: nn.Module, known: dict[int, Tensor], mix: Tensor, node: int) -> Tensor:
        graph = self.space.cells[cell.kind]
        if node not in known:
            terms = [
                mix[row, self.space.ops.index(name)] * op(self._node(cell, known, mix, edge.source))
                for row, edge in enumerate(graph.edges)
                if edge.target == node
                for name, op in cell.edges[row].items()
            ]
            known[node] = torch.stack(terms).sum(dim=0)
        return known[node]

    def forward(self, x: Tensor, mix: Tensor) -> Tensor:
        older = newer = self.stem(x)
        for cell in self.cells:
            if isinstance(cell, ResidualBlock):
                out = cell(newer)
            else:
                graph = self.space.cells[cell.kind]
                sources = [older, newer][-graph.inputs :]
                known = {i: bring(x) for i, (bring, x) in enumerate(zip(cell.inputs, sources, strict=True))}
                rows = mix[self.space.rows[cell.kind]]
                out = torch.cat([self._node(cell, known, rows, node) for node in graph.output], dim=1)
            older, newer = newer, out
        return self.head(newer)


def twin_of(net: Supernet, space: SearchSpace, channels: int, depth: int) -> Twin:
    """The twin with the same weights: both list them in the same order, cell by cell and edge by edge."""
    twin = Twin(space, channels, depth)
    source, target = list(net.state_dict().values()), twin.state_dict()
    assert [tensor.shape for tensor in source] == [tensor.shape for tensor in target.values()]
    twin.load_state_dict(dict(zip(target, source, strict=True)))
    return twin.to(dtype=torch.float64)


@every_device
@every_space
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_it_agrees_with_the_sum_written_out_forward_and_backward(space: SearchSpace, training: bool, device: str):
    net = made(space).train(training)
    twin = twin_of(net, space, 4, 3).train(training).to(device)
    net = net.double().to(device)
    x = pictures().double().to(device)
    mix = random_mix(space).double().to(device).requires_grad_()
    results = []
    for which in (net, twin):
        logits = which(x, mix)
        gradients = torch.autograd.grad(logits.square().sum(), [mix, *which.parameters()])
        results.append((logits, *gradients))
    offered = torch.tensor(space.offered, device=device)
    results = [(logits, of_mix * offered, *rest) for logits, of_mix, *rest in results]
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-9)


@every_space
def test_weights_of_zero_can_be_removed_and_nothing_changes(space: SearchSpace):
    net = made(space).train()
    alpha = 0.3 * torch.randn(len(space.edges), len(space.ops), generator=torch.Generator().manual_seed(3))
    mix = entmax(alpha, torch.tensor(space.offered), 3.0)
    keep = mix > 0
    assert bool((torch.tensor(space.offered) & ~keep).any()), "nothing to remove: the test shows nothing"
    x = pictures()
    before, size = net(x, mix), total(net)
    net.prune_(keep)
    torch.testing.assert_close(net(x, mix), before, rtol=1e-5, atol=1e-5)
    assert total(net) < size


@every_space
def test_removing_again_or_removing_nothing_is_harmless(space: SearchSpace):
    net = made(space)
    keep = torch.tensor(space.offered)
    names = list(net.state_dict())
    net.prune_(keep)
    assert list(net.state_dict()) == names
    keep[:, -1] = False
    net.prune_(keep)
    names = list(net.state_dict())
    net.prune_(keep)
    assert list(net.state_dict()) == names


def test_a_removed_operation_is_gone_from_every_cell_of_its_kind_and_no_other():
    net = made(darts, depth=6)  # normal cells at 0, 1, 3 and 5, reductions at 2 and 4
    column = darts.ops.index("sep_conv_5x5")
    keep = torch.tensor(darts.offered)
    keep[darts.rows["normal"].start + 3, column] = False
    sizes, names = total(net), set(net.state_dict())
    net.prune_(keep)
    gone = names - set(net.state_dict())
    assert {name.split(".")[2] for name in gone} == {"0", "1", "3", "5"}
    # Two separable blocks: a 5x5 depthwise and a 1x1 convolution each.
    lost = sum(2 * (25 * channels + channels * channels) for channels in (4, 4, 8, 16))
    assert sizes - total(net) == lost


def test_multiply_adds_and_parameters_fall_with_every_convolution_that_goes():
    net = made(s2, channels=2)
    keep = torch.tensor(s2.offered)
    mix = torch.zeros(keep.shape)

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x, mix)

    costs = [(count_macs(Fixed(), (3, 8, 8)), total(net))]
    for row in range(0, len(s2.edges), 4):
        keep[row, s2.ops.index("sep_conv_3x3")] = False
        net.prune_(keep)
        costs.append((count_macs(Fixed(), (3, 8, 8)), total(net)))
    for (macs, size), (fewer_macs, smaller) in pairwise(costs):
        assert fewer_macs < macs
        assert smaller < size


def test_a_pruned_supernet_takes_the_weights_of_another_pruned_the_same_way():
    keep = torch.tensor(nas_bench_201.offered)
    keep[1:4, 3] = keep[5, 1] = False
    mix = random_mix(nas_bench_201) * keep
    first, second = made(nas_bench_201, seed=0), made(nas_bench_201, seed=1)
    for net in (first, second):
        net.prune_(keep)
    second.load_state_dict(first.state_dict())
    x = pictures()
    assert torch.equal(first.eval()(x, mix), second.eval()(x, mix))
    with pytest.raises(RuntimeError):
        made(nas_bench_201).load_state_dict(first.state_dict())


def only(space: SearchSpace, chosen: Callable[[str, int, int], str | None]) -> Tensor:
    """keep with one operation an edge: what ``chosen(kind, source, target)`` says."""
    keep = torch.zeros(len(space.edges), len(space.ops), dtype=torch.bool)
    for row, (kind, edge) in enumerate(space.edges):
        keep[row, space.ops.index(chosen(kind, *edge) or "none")] = True
    return keep


def genotype_of(space: SearchSpace, keep: Tensor) -> Genotype:
    found: dict[str, list[Connection]] = {kind: [] for kind in space.cells}
    for (kind, edge), row in zip(space.edges, keep.tolist(), strict=True):
        op = space.ops[row.index(True)]
        if op != "none":
            found[kind].append(Connection(op, *edge))
    cells = {
        kind: Cell(inputs=graph.inputs, nodes=graph.nodes, connections=tuple(found[kind]), output=graph.output)
        for kind, graph in space.cells.items()
    }
    return Genotype(skeleton=space.skeleton, cells=cells)


def learnable(module: nn.Module) -> list[Tensor]:
    """Weights in order, the scales and shifts of batch norms left out: the cells of a supernet have none."""
    norms = {
        id(weight) for part in module.modules() if isinstance(part, nn.BatchNorm2d) for weight in part.parameters()
    }
    return [weight for weight in module.parameters() if id(weight) not in norms]


CONVOLUTIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "skip_connect")


@pytest.mark.parametrize("seed", range(3))
def test_a_decided_supernet_is_the_network_of_its_genotype_on_the_same_weights(seed: int):
    """In-degrees from 1 to 5 and edges of ``none``; without pools, which have a batch norm in the supernet alone."""
    generator = torch.Generator().manual_seed(seed)

    def choose(kind: str, source: int, target: int) -> str | None:
        draw = int(torch.randint(7, (), generator=generator))
        return CONVOLUTIONS[draw] if draw < 5 else CONVOLUTIONS[0] if source == 0 else None

    keep = only(darts, choose)
    net = made(darts)
    net.prune_(keep)
    network = Network(genotype_of(darts, keep), classes=10, channels=4, depth=3)
    with torch.no_grad():
        for target, source in zip(learnable(network), learnable(net), strict=True):
            target.copy_(source)
    x = pictures()
    torch.testing.assert_close(net.train()(x, keep.float()), network.train()(x).logits, rtol=1e-5, atol=1e-5)


def test_a_decided_nas_bench_201_supernet_is_the_network_of_its_genotype():
    chosen = ("avg_pool_3x3", "skip_connect", None, "nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1")
    by_edge = dict(zip([tuple(edge) for _, edge in nas_bench_201.edges], chosen, strict=True))
    keep = only(nas_bench_201, lambda kind, source, target: by_edge[source, target])
    net = made(nas_bench_201)
    net.prune_(keep)
    network = Network(genotype_of(nas_bench_201, keep), classes=10, channels=4, depth=3)
    # The supernet's convolutions have a bias that batch statistics take away again.
    biases = {
        id(m.bias) for cell in net.cells for m in cell.modules() if isinstance(m, nn.Conv2d) and m.bias is not None
    }
    sources = [weight for weight in learnable(net) if id(weight) not in biases]
    with torch.no_grad():
        for target, source in zip(learnable(network), sources, strict=True):
            target.copy_(source)
    x = pictures()
    torch.testing.assert_close(net.train()(x, keep.float()), network.train()(x).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("space", [darts, nas_bench_201], ids=["darts", "nas-bench-201"])
def test_nodes_that_nothing_feeds_are_zero_and_the_net_still_runs(space: SearchSpace):
    keep = torch.tensor(space.offered)
    dead = [row for row, (_, edge) in enumerate(space.edges) if edge.target == (2 if space is darts else 1)]
    keep[dead] = torch.tensor([True] + [False] * (len(space.ops) - 1))
    net, mix = made(space).train(), random_mix(space) * keep
    x = pictures()
    before = net(x, mix)
    net.prune_(keep)
    after = net(x, mix)
    # In training a batch norm makes zeros of zeros, so leaving the dead paths out is the same.
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    after.sum().backward()


@pytest.mark.parametrize("space", [darts, nas_bench_201], ids=["darts", "nas-bench-201"])
def test_cells_of_nothing_but_none_give_the_same_logits_for_every_picture(space: SearchSpace):
    net = made(space).eval()
    keep = only(space, lambda kind, source, target: None)
    net.prune_(keep)
    logits = net(pictures(), keep.float())
    assert logits.shape == (3, 10)
    if space is darts:
        assert torch.equal(logits, logits[:1].expand(3, 10))
    assert logits.isfinite().all()


class Scale(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.factor = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * self.factor


def test_a_space_of_ones_own_takes_a_few_lines():
    cell = dense_cell(inputs=2, nodes=2, ops=["none", "scale", "sep_conv_3x3"])
    space = SearchSpace(
        name="mine",
        cells={"normal": cell, "reduce": cell},
        ops=("none", "scale", "sep_conv_3x3"),
        factories={"scale": lambda slot: Scale(slot.width, slot.stride)},
    )
    net = made(space)
    mix = torch.full((10, 3), 1 / 3, requires_grad=True)
    logits = net(pictures(), mix)
    logits.square().sum().backward()
    assert sum(isinstance(module, Scale) for module in net.modules()) == 3 * 5
    assert mix.grad is not None
    assert (mix.grad[:, 1:] != 0).any(dim=1).all()


@every_space
@pytest.mark.parametrize("stem", ["cifar", "cifar-half"])
@pytest.mark.parametrize(("channels", "size"), [(3, (8, 8)), (3, (9, 9)), (1, (28, 28)), (3, (32, 32)), (1, (11, 8))])
def test_pictures_of_any_size_pass(space: SearchSpace, stem, channels: int, size: tuple[int, int]):
    net = made(space, channels=2, in_channels=channels, stem=stem)
    logits = net(pictures(2, channels, size), random_mix(space))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


def test_mixing_weights_get_their_gradient_in_float32_while_activations_are_bfloat16():
    net = made(nas_bench_201)
    mix = random_mix(nas_bench_201).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(pictures(), mix)
    logits.float().sum().backward()
    assert mix.grad is not None
    assert mix.grad.dtype == torch.float32
    assert (mix.grad[:, 1:] != 0).any()


@pytest.mark.parametrize(("option", "value"), [("depth", 2), ("stem", "cifr")])
def test_sizes_that_no_net_can_have_are_refused(option: str, value):
    with pytest.raises(ValueError, match=r"at least 3 cells|Did you mean 'cifar'"):
        Supernet(darts, **{"classes": 10, "channels": 2, option: value})
