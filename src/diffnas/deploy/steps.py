"""A recurrent network as one step: what it reads and its state, to its output and its next state. A caller loops."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from diffnas.deploy.check import Run
from diffnas.deploy.deployed import about
from diffnas.deploy.graphs import program_of, save_onnx
from diffnas.nets.cell import runner
from diffnas.nets.frames.recurrent import Stepwise
from diffnas.nets.trained import Trained

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A function that takes a step."""


class OneStep(nn.Module):
    """One step of a trained recurrent network, on the CPU, in evaluation mode and in float32.

    Raises:
        ValueError: for a network whose output is one label for a whole sequence.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        if trained.kind == "labelled":
            raise ValueError(
                "a network that labels whole sequences has no output for a step, so it cannot be exported as one. "
                "Take --format torch."
            )
        frame = copy.deepcopy(trained.network.frame).cpu().float().eval()
        assert isinstance(frame, Stepwise)
        self.frame = frame

    def forward(self, step: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The output of a step, and the next state.

        Args:
            step: ids of tokens, ``(B,)``, int64; or standardized vectors, ``(B, d)``.
            state: what the step before returned, ``(B, width)``; zeros at first. An LSTM has ``h`` and ``c`` side by
                side.

        Returns:
            Logits of the next token, ``(B, vocabulary)``, or the next vector, ``(B, d)``; and the state.
        """
        frame = self.frame
        before = torch.stack(torch.chunk(state, frame.parts, dim=1))
        run = runner(lambda cell: (), None, recompute=False)
        out, after = frame.states(frame.embedded(step.unsqueeze(1)), before, run)
        return frame.headed(out).squeeze(1), torch.cat(after.unbind(), dim=1)

    @property
    def width(self) -> int:
        """The width of a state."""
        return self.frame.parts * self.frame.width


def along(step: Step, width: int) -> Run:
    """A function that runs a step along windows ``(B, T)`` or ``(B, T, d)``, to outputs ``(B, T, ...)``."""

    @torch.no_grad()
    def run(window: Tensor) -> Tensor:
        state, outputs = torch.zeros(len(window), width), []
        for each in window.unbind(1):
            output, state = step(each, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)

    return run


def write_exported(trained: Trained, window: Tensor, path: Path) -> Run:
    """Write one step as a ``torch.export`` program; return a function that runs it along windows."""
    net = OneStep(trained)
    torch.export.save(program_of(net, _example(net, window)), path, extra_files=about(trained))
    loaded = torch.export.load(path).module()
    return along(loaded, net.width)


def write_onnx(trained: Trained, window: Tensor, path: Path) -> Run:
    """Write one step as ONNX; return a function that runs it along windows.

    Its inputs are ``step`` and ``state``, its outputs ``output`` and ``next_state``.

    Raises:
        ImportError: without the extra ``export``.
    """
    net = OneStep(trained)
    inputs, outputs = _example(net, window), ["output", "next_state"]
    session = save_onnx(program_of(net, inputs), inputs, outputs, about(trained), path)

    def step(each: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        given = {"step": each.contiguous().numpy(), "state": state.numpy()}
        output, after = (torch.from_numpy(found) for found in session.run(outputs, given))
        return output, after

    return along(step, net.width)


def _example(net: OneStep, window: Tensor) -> dict[str, Tensor]:
    step = (window if len(window) > 1 else torch.cat([window, window]))[:2, 0]
    return {"step": step, "state": torch.zeros(2, net.width)}
