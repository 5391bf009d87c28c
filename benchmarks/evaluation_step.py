"""Time one step of an evaluation: augmentation, forward with drop-path and auxiliary head, backward, SGD.

    python benchmarks/evaluation_step.py
    python benchmarks/evaluation_step.py --batch 64 --threads 2
    python benchmarks/evaluation_step.py --genotype DARTS_V2 --channels 36 --cells 20 --batch 96 --threads 2 --rounds 3

- plain NCHW: stock modules and stock SGD, the structure of the official code.
- plain channels_last: the same with the channels last in memory.
- ours: what ``diffnas evaluate`` runs.

FOUND is a genotype as a search with the method ``sparse`` finds: its nodes have any number of edges.

The plain ways augment with torch's operations alone. Before anything is timed, all must give one loss and one set of
gradients, without drop-path.
"""

from __future__ import annotations

import argparse
import gc
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from common import add_allocator, allocate, difference, interleaved, machine, table
from stock import make_stock_
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.backends.choose import Choice, choose, wholly_by
from diffnas.data import DataSet
from diffnas.data.augment import Augmentation, augment
from diffnas.data.tensors import from_tensors
from diffnas.engine.evaluate import EvaluateState, begin
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import Genotype, parse, read
from diffnas.nets.auxiliary import Output
from diffnas.skeleton import skeleton_of

WAYS = ("plain NCHW", "plain channels_last", "ours")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
FOUND = (
    "Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_3x3', 2, 1), ('dil_conv_3x3', 2, 1), ('sep_conv_5x5', 3, 0), "
    "('skip_connect', 4, 0), ('sep_conv_3x3', 4, 1), ('sep_conv_3x3', 4, 2), ('max_pool_3x3', 5, 1), "
    "('dil_conv_5x5', 5, 3), ('sep_conv_3x3', 5, 4)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('sep_conv_5x5', 2, 0), ('max_pool_3x3', 2, 1), ('skip_connect', 3, 1), ('sep_conv_3x3', 3, 2), "
    "('dil_conv_5x5', 4, 1), ('skip_connect', 4, 2), ('skip_connect', 5, 2), ('sep_conv_3x3', 5, 3)], "
    "reduce_concat=[2, 3, 4, 5])"
)
# float32 gives up to 0.05 where ReLUs and max-pools flip; a wrong kernel gives about 1.
TOLERANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A network, the optimizer and settings that train it, and a batch."""

    way: str
    state: EvaluateState
    settings: EvaluateSettings
    data: DataSet
    images: Tensor
    labels: Tensor
    generator: torch.Generator

    def pictures(self) -> Tensor:
        how = Augmentation(pad=4, flip=True, cutout=self.settings.cutout or 0)
        kernels = "auto" if self.way == "ours" else "stock"
        x = augment(self.images, how, self.data.mean, self.data.std, self.generator, kernels=kernels)
        return x.contiguous() if self.way == "plain NCHW" else x

    def backward(self, drop_path: float) -> Tensor:
        output: Output = self.state.network(self.pictures(), drop_path, self.generator)
        loss = F.cross_entropy(output.logits, self.labels)
        if output.auxiliary is not None:
            loss = loss + self.settings.auxiliary * F.cross_entropy(output.auxiliary, self.labels)
        loss.backward()
        return loss.detach()

    def step(self) -> None:
        network, optimizer = self.state.network, self.state.weight_optimizer
        backend = wholly_by(network, Choice(network.backend, None), self.images[:1].float())
        with backend.computing(torch.get_num_threads()) if backend else nullcontext():
            self.backward(self.settings.drop_path)
            # From the optimizer, as an evaluation has them: a walk through the modules takes milliseconds.
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, self.settings.clip)
            optimizer.step()
            optimizer.zero_grad()

    def gradients(self) -> tuple[Tensor, list[Tensor]]:
        self.generator.manual_seed(0)
        loss = self.backward(0.0)
        copies = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.state.network.parameters()]
        self.state.weight_optimizer.zero_grad()
        return loss, copies


def contender(way: str, genotype: Genotype, settings: EvaluateSettings, device: str = "cpu") -> Contender:
    """The contender of one way; all ways start with the same weights and pictures."""
    on, generator = torch.device(device), torch.Generator().manual_seed(0)
    images = torch.randint(256, (settings.batch, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (settings.batch,), generator=generator)
    one_each = torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10)
    data = from_tensors(one_each, one_each)
    with fixed_random(0):
        state = begin(genotype, data, settings, on)
    if way == "ours":
        state.network.backend = choose("auto", on, "32-true").backend
    else:
        make_stock_(state.network)
        state.weight_optimizer = torch.optim.SGD(
            state.network.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    if way == "plain NCHW":
        state.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    state.network.train()
    images = images.contiguous(memory_format=torch.channels_last)
    return Contender(
        way=way,
        state=state,
        settings=settings,
        data=data,
        images=images.to(on),
        labels=labels.to(on),
        generator=torch.Generator(on).manual_seed(0),
    )


def compared(name: str, options: argparse.Namespace) -> str:
    """The table of one genotype.

    Raises:
        SystemExit: if a way computes something else.
    """
    genotype = parse(FOUND) if name == "FOUND" else read(name)
    settings = EvaluateSettings(
        channels=options.channels,
        depth=options.cells,
        batch=options.batch,
        stem=options.stem,
        drop_path=options.drop_path,
        auxiliary=EvaluateSettings().auxiliary if skeleton_of(genotype.skeleton).auxiliary else 0.0,
    )
    contenders = {way: contender(way, genotype, settings) for way in WAYS}
    loss, gradients = contenders[WAYS[0]].gradients()
    distances = []
    for way, each in contenders.items():
        gc.collect()
        other_loss, other = each.gradients()
        far = difference(other, gradients)
        if not (abs(other_loss - loss) < 1e-3 * loss and far < TOLERANCE):
            raise SystemExit(
                f"{way!r} computes something else: loss {other_loss}, not {loss}; gradients {far:.2g} off."
            )
        distances.append(f"{far:.1e}")
    steps = {way: each.step for way, each in contenders.items()}
    seconds = interleaved(steps, rounds=options.rounds, clock=CLOCKS[options.clock])
    return table(seconds, WAYS[:2], {"gradients differ by": distances})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--genotype",
        nargs="+",
        default=["PDARTS", "DARTS_V2", "FOUND"],
        help="published or made by hand, and FOUND: PDARTS has many 5x5 and dilated kernels",
    )
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--stem", default="cifar")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--drop-path", type=float, default=0.1, help="0.2 at the end of training, 0 at its start")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a busy machine; all threads together")
    add_allocator(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"# One step of an evaluation: {options.channels} channels, {options.cells} cells, 32x32 pictures, ", end="")
    print(f"batch {options.batch}, drop-path {options.drop_path}, float32, {options.clock} seconds\n\n{machine()}")
    print(allocate(options.allocator))
    for genotype in options.genotype:
        print(f"\n## {genotype}\n\n{compared(genotype, options)}")


if __name__ == "__main__":
    main()
