"""A supernet's forward and backward passes replayed from CUDA graphs: two launches instead of thousands.

On a GPU, a step of a supernet spends most of its time launching kernels. The parts that differ between methods (mixing
weights, penalties, optimizers, pruning) stay outside of the graphs, so that they can change from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.components.edge_weights import EdgeWeights
from diffnas.nets.auxiliary import Output
from diffnas.nets.carried import Carried
from diffnas.nets.frames.parts import as_weights
from diffnas.nets.ops import DroppedSkip, Noise
from diffnas.nets.supernet import Supernet

WARM_UP = 2
"""Passes right before a capture, in which libraries choose their kernels and Triton compiles ours."""


def why_no_graph(net: nn.Module, device: torch.device, *, recompute: bool) -> str | None:
    """The reason why no CUDA graph of a supernet's passes can be captured; None if one can."""
    parts = list(net.modules())
    reasons = {
        f"the run computes on {device.type}, and only cuda has graphs": device.type != "cuda",
        "recompute runs parts of the step again; choose one of the two": recompute,
        "the operation 'noise' draws from a generator that changes": any(isinstance(part, Noise) for part in parts),
        "which operations run is drawn in every step": any(
            isinstance(part, Supernet) and part.options.drawn for part in parts
        ),
        "the share of a skip that is dropped changes from epoch to epoch": any(
            isinstance(part, DroppedSkip) for part in parts
        ),
        "a recurrent net carries a state from pass to pass": any(isinstance(part, Carried) for part in parts),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def uses_graph(wanted: bool | None, net: nn.Module, device: torch.device, *, recompute: bool) -> bool:
    """Whether the passes of a supernet are replayed from graphs.

    Args:
        wanted: the user's setting; None for graphs if they can be captured.
        net: the supernet.
        device: the device of the run.
        recompute: whether the run recomputes the inside of cells.

    Raises:
        ValueError: if ``wanted`` is true and no graph can be captured; the message has the reason.
    """
    reason = why_no_graph(net, device, recompute=recompute) if wanted or wanted is None else None
    if wanted and reason:
        raise ValueError(f"cuda_graph cannot be used: {reason}.")
    return wanted is not False and reason is None


class Graphed:
    """A supernet in training whose forward and backward passes are replayed from CUDA graphs.

    Graphs serve whole batches. Other batches, such as the short last one of an epoch, run without graphs; so do windows
    of a stream that are longer or shorter than the one that was captured. There is one
    pair of graphs for passes in which the weights learn, and one for passes in which they are fixed.

    A backward pass must run before the next forward pass, and only once, because it reuses the memory of what its own
    forward pass kept. A gradient that it leaves in ``.grad`` is the graph's memory, which the next step overwrites:
    clone what you keep longer.

    Args:
        net: maps pictures ``(B, C, H, W)`` and mixing weights to logits.
        batch: pictures in a whole batch.
        warmup_steps: steps that run without graphs before a capture, at the start and after every ``forget``. If
            operations are removed in consecutive steps, a capture after each would cost as much as a few steps.
        autocast: the dtype in which the passes compute, if it is not that of the weights.

    Attributes:
        captures: how many pairs of graphs have been captured.
    """

    def __init__(
        self, net: nn.Module, *, batch: int, warmup_steps: int = 0, autocast: torch.dtype | None = None
    ) -> None:
        self.net, self.batch, self.warmup_steps, self.autocast = net, batch, warmup_steps, autocast
        self.passes: dict[bool, Passes] = {}
        self.weights: list[nn.Parameter] = []
        self.steps = self.captures = 0

    def __call__(self, x: Tensor, mix: EdgeWeights, *, flow: bool = False) -> Output:
        """Logits, ``(B, classes)``; the next call may overwrite their memory.

        Args:
            x: pictures.
            mix: the mixing weights.
            flow: whether the caller gets the weights' gradients from ``torch.autograd.grad``. If not, ``backward``
                writes them into ``.grad`` itself, which saves a copy of each.
        """
        x = as_weights(self.net, x)
        if len(x) != self.batch or not (self.net.training and torch.is_grad_enabled()):
            return self._usual(x, mix)
        self.steps += 1
        if self.steps <= self.warmup_steps:
            return self._usual(x, mix)
        self.weights = self.weights or list(self.net.parameters())
        learning = any(weight.requires_grad for weight in self.weights)
        if learning not in self.passes:
            self.captures += 1
            self.passes[learning] = capture(self.net, self._usual, x, mix)
        passes = self.passes[learning]
        return passes.replay(x, mix, flow=flow) if passes.inputs[0].shape == x.shape else self._usual(x, mix)

    def forget(self) -> None:
        """Drop the graphs, because the supernet has changed since they were captured."""
        self.passes, self.weights, self.steps = {}, [], 0

    def _usual(self, x: Tensor, mix: EdgeWeights) -> Output:
        with self._casting(x.device):
            found = self.net(x, mix)
        logits, auxiliary = found if isinstance(found, Output) else (found, None)
        if self.autocast is None:
            return Output(logits, auxiliary)
        # Computed in half precision and returned in float32, as Fabric does it.
        return Output(logits.float(), None if auxiliary is None else auxiliary.float())

    def _casting(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        # Without the cache of autocast, because a graph would go on using the weights as they were cast at the capture.
        return torch.autocast(device.type, self.autocast, cache_enabled=False)


class Passes:
    """A captured forward and backward pass.

    Args:
        forward, backward: run the passes, which read and write the tensors below. A backward pass destroys what its
            forward pass kept.
        inputs: the pictures, and the mixing weights.
        outputs: logits, and the auxiliary head's logits if there is one.
        sent: gradients for the outputs.
        grads: the gradients for the mixing weights, then for every weight of the network.
        weights: the weights that learn.
    """

    def __init__(
        self,
        forward: Callable[[], None],
        backward: Callable[[], None],
        inputs: tuple[Tensor, EdgeWeights],
        outputs: Sequence[Tensor],
        sent: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        weights: Sequence[Tensor],
    ) -> None:
        self.forward, self.backward = forward, backward
        x, mix = inputs
        self.inputs, self.outputs, self.sent = (x, *mix.tensors), tuple(outputs), tuple(sent)
        self.weights = tuple(weights)
        edges = len(mix.tensors)
        self.mix_grads, self.grads = grads[:edges], grads[edges:]
        self.turn = 0  # differs for each forward pass that may still be followed by its backward pass

    def replay(self, x: Tensor, mix: EdgeWeights, *, flow: bool) -> Output:
        """The output of the supernet for other pictures of the same size and other mixing weights."""
        # Autograd calls the backward pass only if some input requires a gradient.
        first, *others = mix.tensors
        first = first if first.requires_grad else first.detach().requires_grad_()
        apply: Callable[..., tuple[Tensor, ...]] = _Replayed.apply
        logits, *auxiliary = apply(self, flow, x, first, *others, *(self.weights if flow else ()))
        return Output(logits, auxiliary[0] if auxiliary else None)

    def accumulate(self) -> None:
        """Run the backward pass, and add its gradients to ``.grad`` of the weights."""
        fresh = [(weight, grad) for weight, grad in zip(self.weights, self.grads, strict=True) if grad is not None]
        before = [None if weight.grad is None else weight.grad.clone() for weight, _ in fresh]
        self.backward()
        for (weight, grad), kept in zip(fresh, before, strict=True):
            # The first gradient stays in the memory of the graph. A gradient from an earlier pass may have been there
            # too and is overwritten by now, so the sum goes into the copy.
            weight.grad = grad if kept is None else kept.add_(grad)


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, passes: Passes, flow: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        for into, given in zip(passes.inputs, tensors, strict=False):  # `tensors` ends with the weights that learn
            into.copy_(given)
        passes.forward()
        passes.turn += 1
        ctx.passes, ctx.turn, ctx.flow = passes, passes.turn, flow
        return tuple(output.detach() for output in passes.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        passes: Passes = ctx.passes
        if ctx.turn != passes.turn:
            raise ValueError(
                "CUDA graphs keep only what the last forward pass computed, and only for one backward pass: run each "
                "backward pass right after its forward pass and once, or search without graphs (--no-cuda-graph)."
            )
        passes.turn += 1
        for into, given in zip(passes.sent, grads, strict=True):
            into.copy_(given)
        if ctx.flow:
            passes.backward()
        else:
            passes.accumulate()
        mix_grads = [None if grad is None else grad.clone() for grad in passes.mix_grads]
        return (None, None, None, *mix_grads, *(passes.grads if ctx.flow else ()))


def capture(net: nn.Module, run: Callable[[Tensor, EdgeWeights], Output], x: Tensor, mix: EdgeWeights) -> Passes:
    """The passes of ``run``, captured as CUDA graphs; ``run`` calls ``net`` with pictures and mixing weights."""
    kept = [(buffer, buffer.clone()) for buffer in net.buffers()]
    own = mix.map(lambda each: each.detach().clone().requires_grad_())
    inputs = x.detach().clone(memory_format=torch.preserve_format), own
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            outputs = [output for output in run(*inputs) if output is not None]
            sent = [torch.zeros_like(output) for output in outputs]
            torch.autograd.grad(outputs, [*own.tensors, *weights], sent, allow_unused=True)
        del outputs
    torch.cuda.current_stream().wait_stream(side)
    # Undo the changes that the warm-up made to running statistics.
    with torch.no_grad():
        for buffer, before in kept:
            buffer.copy_(before)
    forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(forward):
        outputs = [output for output in run(*inputs) if output is not None]
    with torch.cuda.graph(backward, pool=forward.pool()):
        grads = torch.autograd.grad(outputs, [*own.tensors, *weights], sent, allow_unused=True)
    return Passes(forward.replay, backward.replay, inputs, outputs, sent, grads, weights)
