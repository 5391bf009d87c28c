"""A network of sequences without a state: a whole window in, outputs out."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from diffnas.deploy.check import Run
from diffnas.deploy.deployed import about
from diffnas.deploy.graphs import program_of, save_onnx
from diffnas.nets.trained import Trained


class WholeWindow(nn.Module):
    """A trained network that reads windows, on the CPU, in evaluation mode and in float32."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network = copy.deepcopy(trained.network).cpu().float().eval()

    def forward(self, window: Tensor) -> Tensor:
        """The outputs for a window.

        Args:
            window: ids of tokens, ``(B, N)``, int64; or standardized vectors, ``(B, N, d)``. N is that of training. A
                shorter text is filled up at its end with any tokens, and a shorter sequence with NaN.

        Returns:
            Logits of each next token, ``(B, N, vocabulary)``; the next vector of each step, ``(B, N, d)``; or the
            logits of the label, ``(B, classes)``.
        """
        outputs: Tensor = self.network(window).logits
        return outputs


def write_exported(trained: Trained, windows: Tensor, path: Path) -> Run:
    """Write the network as a ``torch.export`` program; return a function that runs it."""
    torch.export.save(program_of(WholeWindow(trained), {"window": windows}), path, extra_files=about(trained))
    loaded = torch.export.load(path).module()

    @torch.no_grad()
    def run(batch: Tensor) -> Tensor:
        outputs: Tensor = loaded(batch)
        return outputs

    return run


def write_onnx(trained: Trained, windows: Tensor, path: Path) -> Run:
    """Write the network as ONNX, with the input ``window`` and the output ``outputs``; return a function that runs it.

    Raises:
        ImportError: without the extra ``export``.
    """
    example = {"window": windows[:2]}
    session = save_onnx(program_of(WholeWindow(trained), example), example, ["outputs"], about(trained), path)
    return lambda batch: torch.from_numpy(session.run(["outputs"], {"window": batch.contiguous().numpy()})[0])
