"""Copies of a sweep on another file system, such as an object store: each run, once it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fsspec.core import url_to_fs

from diffnas.report.sweep.status import Status
from diffnas.run_files import ENDED, LOCK, SWEEP
from diffnas.sweeps.drive import Show


class Copies:
    """The copy of a sweep at a URL that fsspec knows: ``s3://BUCKET/PLACE``, ``gs://``, ``sftp://``, ``file://``, ...

    Args:
        url: the URL.

    Raises:
        ValueError: if fsspec cannot read such a URL here.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.store, self.root = url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            raise ValueError(f"copy_to {url[:200]!r} cannot be used: {error}.") from None
        self._kept: set[str] = set()
        self._broken = False

    def fetch(self, folder: Path) -> None:
        """Write the copied sweep into a folder.

        Raises:
            ValueError: if there is no copy, or it cannot be read.
        """
        try:
            if not self.store.exists(f"{self.root}/{SWEEP}"):
                raise ValueError(f"neither {folder} nor {self.url} holds a sweep. Leave --resume out to begin one.")
            for found in sorted(self.store.find(self.root)):
                place = folder / Path(found).relative_to(self.root)
                place.parent.mkdir(parents=True, exist_ok=True)
                self.store.get_file(found, str(place))
        except OSError as error:
            raise ValueError(f"{self.url} cannot be read: {error}. What was read is in {folder}.") from None

    def begin(self, folder: Path) -> None:
        """Copy the plan of a sweep, so that a place that cannot be written is noticed before the first run.

        Raises:
            ValueError: if it cannot be written.
        """
        self._copy(folder, [folder / SWEEP])

    def beside(self, show: Show, folder: Path) -> Show:
        """``show``, which also copies each run that has ended.

        After one that cannot be copied, the others are left to ``finish``.
        """

        def shown(statuses: Sequence[Status]) -> None:
            show(statuses)
            ended = [each.name for each in statuses if each.state in ("done", "failed")]
            try:
                for name in ended if not self._broken else ():
                    self._keep(folder, name)
            except ValueError:
                self._broken = True

        return shown

    def finish(self, folder: Path) -> None:
        """Copy what is not copied yet: runs, votes and reports.

        Raises:
            ValueError: if it cannot be written.
        """
        for end in sorted((folder / ENDED).glob("*.json")):
            self._keep(folder, end.stem)
        self._copy(folder, (path for path in _files(folder) if path.relative_to(folder).parts[0] not in self._kept))

    def _keep(self, folder: Path, name: str) -> None:
        """Copy a run that has ended, once."""
        if name in self._kept:
            return
        end = folder / ENDED / f"{name}.json"
        if not self._holds(folder, end):
            # What says that the run is over comes last: half of a copy is not taken for a run.
            self._copy(folder, [*_files(folder / name), end])
        self._kept.add(name)

    def _place(self, folder: Path, path: Path) -> str:
        return f"{self.root}/{path.relative_to(folder).as_posix()}"

    def _holds(self, folder: Path, path: Path) -> bool:
        """Whether the copy of a file has the same content as the file."""
        try:
            return bool(self.store.cat_file(self._place(folder, path)) == path.read_bytes())
        except OSError:
            return False

    def _copy(self, folder: Path, paths: Iterable[Path]) -> None:
        try:
            for path in paths:
                place = self._place(folder, path)
                self.store.makedirs(place.rpartition("/")[0], exist_ok=True)
                self.store.put_file(str(path), place)
        except OSError as error:
            raise ValueError(
                f"{self.url} cannot be written: {error}. All runs are in {folder}; to copy them later: "
                f"diffnas sweep --resume {folder} --copy-to {self.url}"
            ) from None


@contextmanager
def copied(copies: Copies | None, folder: Path, show: Show) -> Iterator[Show]:
    """A context with ``show``, in which each run of a sweep is copied when it has ended, and at its end all the rest.

    Raises:
        ValueError: if it cannot be written.
    """
    if copies is None:
        yield show
        return
    copies.begin(folder)
    yield copies.beside(show, folder)
    copies.finish(folder)


def _files(folder: Path) -> list[Path]:
    """The files of a run or a sweep, but for locks."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LOCK]
