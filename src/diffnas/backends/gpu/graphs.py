"""A supernet's passes replayed from CUDA graphs: two launches instead of thousands.

A step of a supernet on a GPU spends most of its time on launching kernels. What differs from method to method (mixing
weights, penalties, optimizers, pruning) stays outside, so nothing of it is frozen in a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from diffnas.nets.auxiliary import Output
from diffnas.nets.frames.parts import as_weights
from diffnas.nets.ops import DroppedSkip, Noise
from diffnas.nets.supernet import Supernet

WARM_UP = 2
"""Passes before a capture: libraries choose their kernels, and Triton compiles ours."""


def why_no_graph(net: nn.Module, device: torch.device, *, recompute: bool) -> str | None:
    """The reason why no CUDA graph of a supernet's passes can be captured, None if one can."""
    parts = list(net.modules())
    reasons = {
        f"the run computes on {device.type}, and only cuda has them": device.type != "cuda",
        "recompute runs parts of the step again; choose one of the two": recompute,
        "the operation 'noise' draws from a generator that changes": any(isinstance(part, Noise) for part in parts),
        "which operations run is drawn in every step": any(
            isinstance(part, Supernet) and part.changes.drawn for part in parts
        ),
        "how much of a skip is dropped changes from epoch to epoch": any(
            isinstance(part, DroppedSkip) for part in parts
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def uses_graph(wanted: bool | None, net: nn.Module, device: torch.device, *, recompute: bool) -> bool:
    """Whether the passes of a supernet are replayed from graphs; None is where that can be.

    Raises:
        ValueError: if they are to be and cannot, with the reason.
    """
    reason = why_no_graph(net, device, recompute=recompute) if wanted or wanted is None else None
    if wanted and reason:
        raise ValueError(f"cuda_graph cannot be used: {reason}.")
    return wanted is not False and reason is None


class Graphed:
    """A supernet in training; its forward and backward passes come from CUDA graphs once they have settled.

    Graphs are for batches of the first size that comes; others, such as an epoch's short last one, run as usual. There
    is one pair of graphs for passes in which the weights learn and one for those in which they are fixed.

    Args:
        net: maps pictures ``(B, C, H, W)`` and mixing weights ``(edges, columns)`` to logits.
        settle: steps that run as usual before a graph is captured, at the start and after every ``forget``: removals
            come in bursts, and a capture costs as much as a few steps.
        autocast: what the passes compute in, if not in the dtype of the weights.

    Attributes:
        captures: how many pairs of graphs there have been.
    """

    def __init__(self, net: nn.Module, *, settle: int = 3, autocast: torch.dtype | None = None) -> None:
        self.net, self.settle, self.autocast = net, settle, autocast
        self.shape: torch.Size | None = None
        self.passes: dict[bool, Passes] = {}
        self.steps = self.captures = 0

    def __call__(self, x: Tensor, mix: Tensor, *, flow: bool = False) -> Output:
        """Logits, ``(B, classes)``, whose memory the next call may use again.

        Args:
            x: pictures.
            mix: mixing weights.
            flow: whether the weights' gradients are asked of ``torch.autograd.grad``. If not, ``backward`` leaves them
                in ``.grad`` itself, which spares a copy of each.
        """
        x = as_weights(self.net, x)
        self.shape = x.shape if self.shape is None else self.shape
        if x.shape != self.shape or not (self.net.training and torch.is_grad_enabled()):
            return self._usual(x, mix)
        self.steps += 1
        if self.steps <= self.settle:
            return self._usual(x, mix)
        learning = any(weight.requires_grad for weight in self.net.parameters())
        if learning not in self.passes:
            self.captures += 1
            self.passes[learning] = capture(self.net, self._usual, x, mix)
        return self.passes[learning].replay(x, mix, flow=flow)

    def forget(self) -> None:
        """Drop the graphs: the supernet is no longer what was captured."""
        self.passes, self.steps = {}, 0

    def _usual(self, x: Tensor, mix: Tensor) -> Output:
        with self._casting(x.device):
            found = self.net(x, mix)
        logits, auxiliary = found if isinstance(found, Output) else (found, None)
        if self.autocast is None:
            return Output(logits, auxiliary)
        # In float32 although they were computed in half precision, as Fabric has it.
        return Output(logits.float(), None if auxiliary is None else auxiliary.float())

    def _casting(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        # Without its cache: a graph would keep weights that were cast once and for all.
        return torch.autocast(device.type, self.autocast, cache_enabled=False)


class Passes:
    """A forward and a backward pass as they were captured.

    Args:
        forward, backward: run the passes on the tensors below.
        inputs: pictures and mixing weights.
        outputs: logits, and the auxiliary head's if there is one.
        sent: gradients for the outputs.
        grads: gradients for the mixing weights, and for every weight.
        weights: those that learn.
    """

    def __init__(
        self,
        forward: Callable[[], None],
        backward: Callable[[], None],
        inputs: tuple[Tensor, Tensor],
        outputs: Sequence[Tensor],
        sent: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        weights: Sequence[Tensor],
    ) -> None:
        self.forward, self.backward = forward, backward
        self.inputs, self.outputs, self.sent = inputs, tuple(outputs), tuple(sent)
        self.weights = tuple(weights)
        self.mix_grad, *self.grads = grads

    def replay(self, x: Tensor, mix: Tensor, *, flow: bool) -> Output:
        """What the supernet says of other pictures of the same size, with other mixing weights."""
        # Whatever is asked for, there is something to differentiate by.
        mix = mix if mix.requires_grad else mix.detach().requires_grad_()
        apply: Callable[..., tuple[Tensor, ...]] = _Replayed.apply
        logits, *auxiliary = apply(self, x, mix, *(self.weights if flow else ()))
        return Output(logits, auxiliary[0] if auxiliary else None)

    def leave(self) -> None:
        """Run the backward pass, and add its gradients to what ``.grad`` of the weights has."""
        fresh = [(weight, grad) for weight, grad in zip(self.weights, self.grads, strict=True) if grad is not None]
        before = [None if weight.grad is None else weight.grad.clone() for weight, _ in fresh]
        self.backward()
        for (weight, grad), kept in zip(fresh, before, strict=True):
            # Where the graph writes it, unless there was one before, which may have stood there too.
            weight.grad = grad if kept is None else kept.add_(grad)


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, passes: Passes, x: Tensor, mix: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        for into, given in zip(passes.inputs, (x, mix), strict=True):
            into.copy_(given)
        passes.forward()
        ctx.passes, ctx.flow = passes, bool(weights)
        return tuple(output.detach() for output in passes.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        passes: Passes = ctx.passes
        for into, given in zip(passes.sent, grads, strict=True):
            into.copy_(given)
        if ctx.flow:
            passes.backward()
        else:
            passes.leave()
        mix_grad = None if passes.mix_grad is None else passes.mix_grad.clone()
        return (None, None, mix_grad, *(passes.grads if ctx.flow else ()))


def capture(net: nn.Module, run: Callable[[Tensor, Tensor], Output], x: Tensor, mix: Tensor) -> Passes:
    """Capture the passes of ``run``, which is ``net`` on pictures and mixing weights, as CUDA graphs."""
    kept = [(buffer, buffer.clone()) for buffer in net.buffers()]
    inputs = x.detach().clone(memory_format=torch.preserve_format), mix.detach().clone().requires_grad_()
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            outputs = [output for output in run(*inputs) if output is not None]
            sent = [torch.zeros_like(output) for output in outputs]
            torch.autograd.grad(outputs, [inputs[1], *weights], sent, allow_unused=True)
        del outputs
    torch.cuda.current_stream().wait_stream(side)
    # What warming up did to running statistics is undone.
    with torch.no_grad():
        for buffer, before in kept:
            buffer.copy_(before)
    forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(forward):
        outputs = [output for output in run(*inputs) if output is not None]
    with torch.cuda.graph(backward, pool=forward.pool()):
        grads = torch.autograd.grad(outputs, [inputs[1], *weights], sent, allow_unused=True)
    return Passes(forward.replay, backward.replay, inputs, outputs, sent, grads, weights)
