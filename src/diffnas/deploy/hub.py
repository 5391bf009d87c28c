"""Trained networks on the Hugging Face hub, each with a card; ``diffnas.load("hub:OWNER/NAME")`` reads one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffnas.genotype import to_text
from diffnas.nets.trained import Trained
from diffnas.run_files import NETWORK, WEIGHTS

PREFIX = "hub:"

_CARD = """---
library_name: diffnas
tags: [image-classification, neural-architecture-search]
---

# {name}

A network for pictures of {channels} and {height}x{width} pixels in {count} classes, found by differentiable
architecture search and trained from scratch with diffnas. {accuracy}

```python
import diffnas

trained = diffnas.load("hub:{name}")  # reads safetensors and JSON, and runs nothing
probabilities = trained.predict(pictures)  # uint8, (B, {shape})
```

Classes: {classes}

The cells:

```
{genotype}
```
"""


def upload(folder: Path, name: str, trained: Trained, *, accuracy: float | None = None, private: bool = False) -> str:
    """Upload the files in a folder to the hub with a card that describes them, and return their address.

    The hub's own log-in (``hf auth login``, or the variable ``HF_TOKEN``) decides whether the user may write there.

    Args:
        folder: a folder that ``export`` wrote with the format "torch"; the card is added to it.
        name: ``OWNER/NAME``; the repository is made if it does not exist.
        trained: the network.
        accuracy: the share of test pictures classified correctly, 0 to 1; for the card.
        private: whether only the owner can see a repository that is made.

    Raises:
        ValueError: for a name that is not ``OWNER/NAME``, a network of sequences, or if ``folder`` lacks a file of the
            format "torch".
        ImportError: without the extra ``hub``.
        OSError: if the hub cannot be reached, or refuses.
    """
    hub = _client()
    _check(name)
    if trained.kind != "pictures":
        raise ValueError(
            f"the card describes networks of pictures, and this one reads {trained.kind}. Upload the files in {folder}:"
            f" hf upload {name} {folder}"
        )
    missing = [file for file in (NETWORK, WEIGHTS) if not (folder / file).exists()]
    if missing:
        raise ValueError(f"{folder} has no {' and no '.join(missing)}; export the network as torch, too.")
    (folder / "README.md").write_text(_card(name, trained, accuracy), encoding="utf-8")
    api = hub.HfApi()
    # None: the owner's own settings decide.
    place = api.create_repo(name, repo_type="model", private=private or None, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=str(folder), commit_message="A network found by diffnas")
    return str(place)


def download(name: str) -> Path:
    """A local folder with the files of a network on the hub; it is kept, so each network is fetched once.

    Raises:
        ValueError: for a name that is not ``OWNER/NAME``.
        ImportError: without the extra ``hub``.
        OSError: if the hub cannot be reached, or has no such network.
    """
    hub = _client()
    _check(name)
    return Path(hub.snapshot_download(name, allow_patterns=[NETWORK, WEIGHTS]))


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError('the hub needs: pip install ".[hub]", in the checkout of diffnas') from error
    return huggingface_hub


def _check(name: str) -> None:
    owner, slash, rest = name.partition("/")
    if not (owner and slash and rest) or "/" in rest:
        raise ValueError(f"a network on the hub is called hub:OWNER/NAME, not {PREFIX}{name}.")


def _card(name: str, trained: Trained, accuracy: float | None) -> str:
    height, width = trained.size
    return _CARD.format(
        name=name,
        channels="grey" if trained.channels == 1 else "color",
        height=height,
        width=width,
        count=len(trained.classes),
        accuracy="" if accuracy is None else f"It is right on {accuracy:.2%} of its test pictures.",
        shape=f"{trained.channels}, {height}, {width}",
        classes=json.dumps(trained.classes, ensure_ascii=False),
        genotype=to_text(trained.genotype),
    ).replace("  \n", "\n")
