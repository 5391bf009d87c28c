"""Loading a trained network from a folder or the hub, and exporting one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffnas import files
from diffnas.api.notes import left, load_noted, read_notes
from diffnas.api.phases import evaluation_folder
from diffnas.api.predict import picture_files, read_picture
from diffnas.data import DataSet, Split
from diffnas.data.sequences import Stream
from diffnas.deploy import FORMATS, Agreement, hub
from diffnas.deploy import export as export_to
from diffnas.deploy.int8 import CALIBRATION, Quantized, write_int8
from diffnas.deploy.int8 import FILE as INT8_FILE
from diffnas.deploy.preprocessing import write_preprocess
from diffnas.engine.passes import as_read
from diffnas.engine.settings import Source
from diffnas.lookup import lookup
from diffnas.nets import trained as on_disk
from diffnas.nets.frames import FrameFactory
from diffnas.nets.slot import OpFactory
from diffnas.nets.trained import Trained
from diffnas.report.reading import read_result
from diffnas.run_files import EXPORT as FOLDER
from diffnas.run_files import INT8 as INT8_RECORD
from diffnas.run_folder import RunFolder, as_json
from diffnas.skeleton import skeleton_of

SHOWN = 100  # how many pictures, or steps of a stream, check an exported network
_COLUMNS = 4  # of the windows of a stream
INT8 = "int8"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The result of an export.

    Attributes:
        agreements: how closely each file agrees with the network.
        place: the folder, or the address on the hub.
        quantized: how the network of 8 bits compares with float32; None without the format "int8".
    """

    agreements: tuple[Agreement, ...]
    place: str
    quantized: Quantized | None = None


def load(
    path: str | Path,
    device: torch.device | str = "cpu",
    factories: Mapping[str, OpFactory] | None = None,
    frame: FrameFactory | None = None,
) -> Trained:
    """The trained network in a run folder, in a folder of its two files, or on the hub (``"hub:OWNER/NAME"``).

    Args:
        path: the folder, or the address on the hub.
        device: the device for the network.
        factories: factories of the user's operations in its cells, by name.
        frame: the user's own frame of its cells, if the space has one.

    Raises:
        ValueError: if there is no network, or its files are damaged or from another version.
        ImportError: if the hub is named and the extra ``hub`` is not installed.
    """
    if isinstance(path, str) and path.startswith(hub.PREFIX):
        path = hub.download(path.removeprefix(hub.PREFIX))
    return on_disk.load(evaluation_folder(Path(path)), device, factories, frame)


def export(
    what: str | Path,
    formats: Sequence[str] = ("onnx",),
    *,
    out: str | Path | None = None,
    pictures: Sequence[str | Path] = (),
    private: bool = False,
    factories: Mapping[str, OpFactory] | None = None,
    frame: FrameFactory | None = None,
) -> Exported:
    """Export a trained network in one or more formats; each file is checked against the network on real pictures.

    Args:
        what: the network, as in ``load``.
        formats: "onnx", "int8" (ONNX of 8 bits, measured on the run's own test pictures), "exported"
            (``torch.export``), "source" (plain Python) or "torch" (safetensors and JSON).
        out: a folder, by default ``export`` in the run folder; or ``"hub:OWNER/NAME"``, which always gets "torch" too.
        pictures: files or folders of pictures for the check; by default, test pictures of the run's own data.
        private: whether only its owner can see a new repository on the hub.
        factories: factories of the user's operations in its cells, by name.
        frame: the user's own frame of its cells, if the space has one.

    Raises:
        ValueError: if there is no network or no picture, or if the network cannot have such a format.
        ImportError: if an extra that a format needs is not installed.
        Disagreement: if the results of a file differ from those of the network.
    """
    for each in formats:
        lookup("format", each, {**FORMATS, INT8: None})
    trained = load(what, factories=factories, frame=frame)
    place = str(out) if out is not None else None
    name = place.removeprefix(hub.PREFIX) if place and place.startswith(hub.PREFIX) else None
    if trained.several and INT8 in formats:
        raise ValueError(
            "int8 is judged by accuracy, which a network of several classes a picture has not. Take --format onnx."
        )
    if trained.kind != "pictures" and (pictures or INT8 in formats):
        raise ValueError(
            f"this network reads a {trained.kind}, not pictures: leave the pictures and the format int8 out. Formats "
            f"of it are {', '.join(FORMATS)}."
        )
    own = _own_data(what, trained) if INT8 in formats or not pictures else None
    shown = _given(trained, pictures) if own is None else _shown(own, trained.network.frame.window)
    exact = [each for each in formats if each != INT8]

    def write(folder: Path, also: Sequence[str] = ()) -> tuple[tuple[Agreement, ...], Quantized | None]:
        agreements = export_to(trained, folder, [*exact, *also], shown)
        return agreements, _int8(trained, own, folder) if own is not None and INT8 in formats else None

    if name is None:
        folder = Path(out) if out is not None else _home(what) / FOLDER
        agreements, quantized = write(folder)
        return Exported(agreements=agreements, place=str(folder), quantized=quantized)
    with TemporaryDirectory() as passing:
        agreements, quantized = write(Path(passing), ["torch"])
        address = hub.upload(Path(passing), name, trained, accuracy=_accuracy(what), private=private)
    return Exported(agreements=agreements, place=address, quantized=quantized)


def _int8(trained: Trained, data: DataSet, folder: Path) -> Quantized:
    """Write the network of 8 bits to a folder, with its measurements, which are returned."""
    write_preprocess(folder)
    calibration, _ = _spread(data.train, CALIBRATION)
    made = write_int8(trained, calibration, folder / INT8_FILE, _spread(data.test, len(data.test)))
    record = {name: value for name, value in asdict(made).items() if name != "path"}
    files.write_bytes_atomically(folder / INT8_RECORD, as_json(record))
    return made


def _home(what: str | Path) -> Path:
    if isinstance(what, str) and what.startswith(hub.PREFIX):
        raise ValueError(f"name a folder for the export of {what}: --out FOLDER.")
    return Path(what)


def _given(trained: Trained, pictures: Sequence[str | Path]) -> Tensor:
    """At most ``SHOWN`` pictures from files and folders, without unreadable files; a ValueError if none can be read."""
    read = (read_picture(trained, path) for path in picture_files(pictures))
    found = [pixels for pixels in read if not isinstance(pixels, str)][:SHOWN]
    if not found:
        raise ValueError(f"no picture can be read in {', '.join(map(str, pictures))}.")
    return torch.stack(found)


def _own_data(what: str | Path, trained: Trained) -> DataSet:
    """The data with which the network was trained."""
    folder = evaluation_folder(Path(what))
    with _explained(what):
        if not RunFolder(folder).begun:
            raise ValueError("no run folder tells the data of its training")
        notes, _ = read_notes(folder, "evaluate")
        skeleton = skeleton_of(trained.genotype.skeleton)
        data = as_read(left(load_noted(notes.data, None, Source()), notes), skeleton, trained.size[0])
        if (data.channels, data.size) != (trained.channels, trained.size):
            raise ValueError("its data has another size now")
    return data


def _shown(data: DataSet, window: int | None) -> Tensor:
    """Samples that check an exported network: at most ``SHOWN`` pictures or sequences, or windows of a stream.

    Sequences have ``window`` steps, unless that is None.
    """
    split = data.test
    if not isinstance(split, Stream):
        found = _spread(split, SHOWN)[0]
        return found if window is None else pad(found, (0, 0, 0, window - found.shape[1]), value=torch.nan)
    if window is not None and len(split) < window:
        split = data.train  # which has two windows or more
    assert isinstance(split, Stream)
    columns = min(_COLUMNS, len(split) // (window or 2))
    rows = window or min(SHOWN, len(split) // columns)
    return split.steps[: columns * rows].view(columns, rows, *split.steps.shape[1:])


def _spread(split: Split, most: int) -> tuple[Tensor, Tensor]:
    """At most ``most`` pictures of a split, evenly spread over it, and their labels."""
    chosen = torch.linspace(0, len(split) - 1, min(most, len(split))).long()
    images, labels = split.take(chosen)
    return images.contiguous(), labels


@contextmanager
def _explained(what: str | Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        reason = str(error).rstrip(".")
        raise ValueError(
            f"{what}: the exported network is checked on real pictures, and its own cannot be loaded ({reason}). "
            "Name some: --pictures FOLDER."
        ) from None


def _accuracy(what: str | Path) -> float | None:
    """The test accuracy from the network's evaluation; None if it is unknown."""
    result = read_result(RunFolder(evaluation_folder(Path(what))))
    return None if result is None else result.test.get("accuracy")
