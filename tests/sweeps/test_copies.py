"""Copies of a sweep at a URL, with workers that compute nothing."""

from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from diffnas.report.sweep.record import CellRecord, EndRecord, SweepRecord, write_end, write_sweep
from diffnas.sweeps.sweep import Means, go_on
from diffnas.sweeps.workers import Ending

URL = "memory://bucket/sweep"


class Staged:
    """Workers whose runs write one file, and are done at once unless ``failing`` names them."""

    failing: tuple[str, ...] = ()
    started: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder, self.running = folder, []

    def has_room(self, cell) -> bool:
        return not self.running

    def start(self, name, cell):
        Staged.started += (name,)
        self.running.append(name)
        (self.folder / name / "inner").mkdir(parents=True, exist_ok=True)
        (self.folder / name / "inner/result.txt").write_text(f"of {name}")
        (self.folder / name / "lock").write_text("")

    def ended(self):
        name = self.running.pop()
        if name not in self.failing:
            write_end(self.folder, name, EndRecord(done=True))
        yield Ending(name, "too large" if name in self.failing else "", True)

    def stop(self):
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sweep of three runs, which are done without processes."""
    monkeypatch.setattr(Means, "workers", lambda self, folder: Staged(folder))
    monkeypatch.setattr(Staged, "failing", ())
    monkeypatch.setattr(Staged, "started", ())
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    cell = CellRecord(values={"seed": "0"}, options={"threads": 1}, memory=1)
    write_sweep(tmp_path / "s", SweepRecord(cells=dict.fromkeys("abc", cell)))
    return tmp_path / "s"


def files(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if not name.endswith("lock")}


def test_a_sweep_whose_folder_is_lost_goes_on_from_its_copy(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Staged, "failing", ("b",))
    go_on(folder, Means(copy_to=URL))
    elsewhere = folder.parent / "elsewhere"
    monkeypatch.setattr(Staged, "failing", ())
    monkeypatch.setattr(Staged, "started", ())
    again = go_on(elsewhere, Means(copy_to=URL))
    assert Staged.started == ("b",)
    assert [run.state for run in again.runs] == ["done"] * 3
    third = folder.parent / "third"
    go_on(third, Means(copy_to=URL))
    assert Staged.started == ("b",)
    assert files(third) == files(elsewhere)
    assert files(third)["a/inner/result.txt"] == b"of a"


def test_each_run_is_copied_when_it_ends_and_no_lock_is(folder: Path):
    seen = []

    def show(statuses):
        seen.append(sorted(MemoryFileSystem.store))

    go_on(folder, Means(copy_to=URL), show)
    ended = [[name for name in names if name.startswith("/bucket/sweep/ended/")] for names in seen]
    assert max(map(len, ended)) >= 2
    assert ended[0] == []
    assert "/bucket/sweep/sweep.json" in seen[0]
    assert not any(name.endswith("lock") for name in MemoryFileSystem.store)


def test_a_run_that_is_copied_is_not_copied_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    go_on(folder, Means(copy_to=URL))
    put = []
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda self, local, place, **more: put.append(place))
    go_on(folder, Means(copy_to=URL))
    assert not any("result.txt" in place for place in put)


def test_a_place_that_cannot_be_written_is_refused_before_the_first_run(folder: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written: .* to copy them later: diffnas sweep --resume"):
        go_on(folder, Means(copy_to=f"file://{tmp_path}/file/within"))
    assert Staged.started == ()


def test_a_place_that_breaks_down_loses_no_run(folder: Path, monkeypatch: pytest.MonkeyPatch):
    put = MemoryFileSystem.put_file

    def broken(self, local, place, **more):
        if not place.endswith("sweep.json"):
            raise OSError("no space left")
        put(self, local, place, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", broken)
    with pytest.raises(ValueError, match="no space left"):
        go_on(folder, Means(copy_to=URL))
    assert Staged.started == ("a", "b", "c")
    monkeypatch.setattr(MemoryFileSystem, "put_file", put)
    go_on(folder, Means(copy_to=URL))
    assert Staged.started == ("a", "b", "c")
    assert "/bucket/sweep/c/inner/result.txt" in MemoryFileSystem.store


def test_of_a_copy_that_breaks_off_no_run_is_taken_for_one_that_is_over(folder: Path, monkeypatch: pytest.MonkeyPatch):
    go_on(folder, Means())
    put = MemoryFileSystem.put_file

    def broken(self, local, place, **more):
        if "/b/" in place:
            raise OSError("no space left")
        put(self, local, place, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", broken)
    with pytest.raises(ValueError, match="no space left"):
        go_on(folder, Means(copy_to=URL))
    ended = {name for name in MemoryFileSystem.store if "/ended/" in name}
    assert ended == {"/bucket/sweep/ended/a.json"}


@pytest.mark.parametrize("url", ["nothing://bucket/sweep", "s4://x"])
def test_a_url_that_nobody_knows_is_refused(folder: Path, url: str):
    with pytest.raises(ValueError, match="cannot be used: Protocol not known"):
        go_on(folder, Means(copy_to=url))
    assert Staged.started == ()


def test_there_is_nothing_to_go_on_with_where_no_copy_is(folder: Path):
    with pytest.raises(ValueError, match=r"neither .* nor memory://bucket/none holds a sweep"):
        go_on(folder.parent / "new", Means(copy_to="memory://bucket/none"))
