"""What a trained network says of sequences: how a text goes on, the class of a sequence, the next row of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from diffnas.api.predict import TOP, Guesses
from diffnas.data.vectors import read_table
from diffnas.nets.carried import afresh
from diffnas.nets.trained import Trained
from diffnas.values import SEED, real, whole

_LENGTH, _TEMPERATURE = whole(1, 1_000_000), real(0, 100)
_STREAM = "told"


@torch.no_grad()
def continue_text(trained: Trained, prompt: str, *, length: int = 400, temperature: float = 0.8, seed: int = 0) -> str:
    """How a network's text goes on after a prompt, without the prompt.

    Args:
        trained: a network that was trained on a text.
        prompt: the beginning; if empty, the text begins after a line end.
        length: how many tokens are drawn.
        temperature: below 1, likelier tokens are drawn more often; 0 always takes the likeliest one.
        seed: decides what is drawn.

    Raises:
        ValueError: for a network of other data, or for a value out of its bounds.
    """
    if trained.tokens is None:
        read = {"labelled": "sequences", "forecast": "tables"}.get(trained.kind, trained.kind)
        raise ValueError(f"a prompt is for a network of a text, and this one reads {read}. Leave --prompt out.")
    length, temperature = _LENGTH.check("length", length), _TEMPERATURE.check("temperature", temperature)
    generator = torch.Generator().manual_seed(SEED.check("seed", seed))
    unread, window = trained.tokens.encode(prompt or "\n").tolist(), trained.network.frame.window
    device = next(trained.network.parameters()).device
    drawn: list[int] = []
    with afresh(trained.network, _STREAM):
        for _ in range(length):
            context = unread if window is None else unread[-window:]
            logits = trained.network(torch.tensor([context], device=device)).logits[0, -1].double().cpu()
            drawn.append(_drawn(logits, temperature, generator))
            # A net with a state has read what came before; any other one reads its window again.
            unread = drawn[-1:] if window is None else [*context, drawn[-1]]
    return trained.tokens.decode(drawn)


def _drawn(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(0), 1, generator=generator))


@torch.no_grad()
def judge_table(trained: Trained, path: str | Path) -> list[float]:
    """What a network says of the sequence in a CSV file: the probability of each class, or the next row.

    Raises:
        ValueError: for a file that cannot be read, or that has other columns than those of training.
    """
    rows = read_table(Path(path))[1]
    if rows.shape[1] != trained.channels:
        raise ValueError(f"{path} has {rows.shape[1]} columns, and the network reads {trained.channels}.")
    window = trained.network.frame.window
    if trained.kind == "forecast" and window is not None:
        rows = rows[-window:]
    mean, std = (torch.tensor(each, dtype=torch.float64) for each in (trained.mean, trained.std))
    weight = next(trained.network.parameters())
    outputs = trained.network(((rows - mean) / std).to(weight).unsqueeze(0)).logits[0].double().cpu()
    found: list[float] = (outputs[-1] * std + mean if trained.kind == "forecast" else outputs.softmax(0)).tolist()
    return found


def predict_sequences(
    trained: Trained, files: Iterable[str | Path], top: int = 1
) -> Iterator[tuple[Path, Guesses | str]]:
    """For each CSV file, the ``top`` likeliest classes with their probabilities, or why it cannot be read."""
    for path in map(Path, files):
        try:
            found = judge_table(trained, path)
        except (ValueError, OSError) as error:
            yield path, str(error)
            continue
        best = sorted(zip(trained.classes, found, strict=True), key=lambda each: -each[1])
        yield path, best[: TOP.check("top", top)]
