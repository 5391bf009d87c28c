"""Time one step of an evaluation: augmentation, forward with drop-path and auxiliary head, backward, SGD.

    python benchmarks/evaluation_step.py --genotype DARTS_V2 --channels 36 --cells 20 --batch 96 --threads 2 --rounds 3

- plain NCHW: stock modules and stock SGD, the structure of the official code.
- plain channels_last: the same with the channels last in memory.
- ours: what ``diffnas evaluate`` runs.

The plain ways augment with torch's operations alone. Before anything is timed, all must give one loss and one set of
gradients, without drop-path.
"""

from __future__ import annotations

import argparse
import gc
from dataclasses import dataclass

import torch
from common import add_allocator, allocate, difference, interleaved, machine, table
from stock import make_stock_
from torch import Tensor, nn
from torch.nn import functional as F

from diffnas.backends.choose import choose
from diffnas.data.augment import Augmentation, augment
from diffnas.data import DataSet
from diffnas.data.tensors import from_tensors
from diffnas.engine.evaluate import EvaluateState, begin
from diffnas.engine.seeds import fixed_random
from diffnas.engine.settings import EvaluateSettings
from diffnas.genotype import published
from diffnas.nets.auxiliary import Output

WAYS = ("plain NCHW", "plain channels_last", "ours")
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
        self.backward(self.settings.drop_path)
        nn.utils.clip_grad_norm_(self.state.network.parameters(), self.settings.clip)
        self.state.weight_optimizer.step()
        self.state.weight_optimizer.zero_grad()

    def gradients(self) -> tuple[Tensor, list[Tensor]]:
        self.generator.manual_seed(0)
        loss = self.backward(0.0)
        copies = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.state.network.parameters()]
        self.state.weight_optimizer.zero_grad()
        return loss, copies


def contender(way: str, genotype: str, settings: EvaluateSettings, device: str = "cpu") -> Contender:
    """The contender of one way; all ways start with the same weights and pictures."""
    on, generator = torch.device(device), torch.Generator().manual_seed(0)
    images = torch.randint(256, (settings.batch, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (settings.batch,), generator=generator)
    one_each = torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10)
    data = from_tensors(one_each, one_each)
    with fixed_random(0):
        state = begin(published(genotype), data, settings, on)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--genotype", default="DARTS_V2", help="a published one; PDARTS has many 5x5 and dilated kernels"
    )
    parser.add_argument("--channels", type=int, default=36)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--drop-path", type=float, default=0.1, help="0.2 at the end of training, 0 at its start")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    add_allocator(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = EvaluateSettings(
        channels=options.channels, depth=options.cells, batch=options.batch, drop_path=options.drop_path
    )
    print(
        f"# One step of an evaluation: {options.genotype}, {settings.channels} channels, {settings.depth} cells, ",
        end="",
    )
    print(f"32x32 pictures, batch {settings.batch}, drop-path {settings.drop_path}, float32\n\n{machine()}")
    print(allocate(options.allocator), end="\n\n")
    contenders = {way: contender(way, options.genotype, settings) for way in WAYS}
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
    seconds = interleaved({way: each.step for way, each in contenders.items()}, rounds=options.rounds)
    print(table(seconds, WAYS[:2], {"gradients differ by": distances}))


if __name__ == "__main__":
    main()
