"""Loading a trained network, from a folder or the hub, and taking one away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from diffnas.api.notes import load_noted, read_notes
from diffnas.api.phases import evaluation_folder
from diffnas.api.predict import picture_files, read_picture
from diffnas.deploy import Agreement, hub
from diffnas.deploy import export as export_to
from diffnas.engine.run import RECORD, RunFolder
from diffnas.nets import trained as on_disk
from diffnas.nets.slot import OpFactory
from diffnas.nets.trained import Trained
from diffnas.report.reading import read_result

SHOWN = 100  # pictures that an exported network is checked with
FOLDER = "export"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export left behind.

    Attributes:
        agreements: for every file, how closely it follows the network.
        place: the folder, or the address on the hub.
    """

    agreements: tuple[Agreement, ...]
    place: str


def load(
    path: str | Path, device: torch.device | str = "cpu", factories: Mapping[str, OpFactory] | None = None
) -> Trained:
    """The trained network in a run folder, in a folder of its two files, or on the hub (``"hub:OWNER/NAME"``).

    Args:
        path: which.
        device: where it shall be.
        factories: the user's own operations of its cells.

    Raises:
        ValueError: if there is none, or its files are damaged or of another version.
        ImportError: for the hub without the extra ``hub``.
    """
    if isinstance(path, str) and path.startswith(hub.PREFIX):
        path = hub.download(path.removeprefix(hub.PREFIX))
    return on_disk.load(path, device, factories)


def export(
    what: str | Path,
    formats: Sequence[str] = ("onnx",),
    *,
    out: str | Path | None = None,
    pictures: Sequence[str | Path] = (),
    private: bool = False,
    factories: Mapping[str, OpFactory] | None = None,
) -> Exported:
    """Take a trained network away, in forms that are each checked against it on real pictures.

    Args:
        what: as in ``load``.
        formats: "onnx", "exported" (``torch.export``), "source" (plain Python) or "torch" (safetensors and JSON).
        out: a folder, ``export`` in the run folder by default; or ``"hub:OWNER/NAME"``, to which "torch" always goes.
        pictures: files or folders of the pictures for the check; by default test pictures of the run's own data.
        private: whether a repository that is made on the hub shall be seen by its owner alone.
        factories: the user's own operations of its cells.

    Raises:
        ValueError: if there is no network, no picture, or no such form of this network.
        ImportError: without the extra that is needed.
        Disagreement: if a form does not do what the network does.
    """
    trained = load(what, factories=factories)
    place = str(out) if out is not None else None
    name = place.removeprefix(hub.PREFIX) if place and place.startswith(hub.PREFIX) else None
    shown = _given(trained, pictures) if pictures else _noted(what, trained)
    if name is None:
        folder = Path(out) if out is not None else _home(what) / FOLDER
        return Exported(agreements=export_to(trained, folder, formats, shown), place=str(folder))
    with TemporaryDirectory() as passing:
        folder = Path(passing)
        agreements = export_to(trained, folder, [*formats, "torch"], shown)
        address = hub.upload(folder, name, trained, accuracy=_accuracy(what), private=private)
    return Exported(agreements=agreements, place=address)


def _home(what: str | Path) -> Path:
    if isinstance(what, str) and what.startswith(hub.PREFIX):
        raise ValueError(f"say where to export {what} to: --out FOLDER.")
    return Path(what)


def _given(trained: Trained, pictures: Sequence[str | Path]) -> Tensor:
    """Pictures from files and folders; what cannot be read is passed over while there are others."""
    read = (read_picture(trained, path) for path in picture_files(pictures))
    found = [pixels for pixels in read if not isinstance(pixels, str)][:SHOWN]
    if not found:
        raise ValueError(f"no picture can be read in {', '.join(map(str, pictures))}.")
    return torch.stack(found)


def _noted(what: str | Path, trained: Trained) -> Tensor:
    """Test pictures of the data that the network was trained on, evenly spread."""
    folder = evaluation_folder(Path(what))
    with _explained(what):
        if not (folder / RECORD).is_file():
            raise ValueError("there is no run folder that says what data it was trained on")
        data = load_noted(read_notes(folder, "evaluate")[0].data, None, None, False)
        if (data.channels, data.size) != (trained.channels, trained.size):
            raise ValueError("its data is of another size now")
    chosen = torch.linspace(0, len(data.test) - 1, min(SHOWN, len(data.test))).long()
    return data.test.take(chosen)[0].contiguous()


@contextmanager
def _explained(what: str | Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        reason = str(error).rstrip(".")
        raise ValueError(
            f"{what}: the exported network is checked with real pictures, and its own are not to be had ({reason}). "
            "Name some: --pictures FOLDER."
        ) from None


def _accuracy(what: str | Path) -> float | None:
    """What the network's evaluation measured, if it is known."""
    result = read_result(RunFolder(evaluation_folder(Path(what))))
    return None if result is None else result.accuracy
