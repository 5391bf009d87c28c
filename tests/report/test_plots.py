"""Figures of a run."""

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rcParams
from PIL import Image

from diffnas.cli import main
from diffnas.report import palette, plots
from diffnas.report.reading import read_run
from diffnas.report.verdict import Contender

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.fixture
def run(write_search):
    """A search in which an operation dies, evaluated."""
    dying = [[0.1, 0.4, 0.2, 0.2, 0.1]] * 6, [[0.1, 0.4, 0.2, 0.3, 0.0]] * 6
    return write_search([(CELL, mix) for mix in dying], evaluated=True, name="run")


def test_a_run_is_drawn_as_svg_and_png(run, tmp_path, capsys):
    assert main(["report", str(run), "--figures", str(tmp_path / "figures")]) == 0
    names = {"cells", "weights-normal", "cost", "learning"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}{suffix}" for name in names for suffix in (".svg", ".png")
    }
    for line in capsys.readouterr().out.splitlines():
        if line.endswith(".png"):
            with Image.open(line) as picture:
                assert min(picture.size) > 100
        else:
            assert ElementTree.parse(line).getroot().tag.endswith("svg")


def test_the_same_run_gives_the_same_figures(run, tmp_path):
    for name in ("a", "b"):
        plots.write_figures(run, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_every_operation_of_every_edge_is_a_line_in_its_color_until_it_is_pruned(run):
    search = read_run(run).search
    (kind,) = search.kinds
    figure = plots.weights(search, kind)
    plotted = [axes for axes in figure.axes if axes.get_visible()]
    assert len(plotted) == len(kind.edges)
    for edge, axes in enumerate(plotted):
        # Drawn row by row: the edges in the order of their targets, which is that of the trace.
        lines = {line.get_color(): line.get_ydata() for line in axes.lines if line.get_marker() == "None"}
        for column, op in enumerate(search.ops):
            lived = [line.mix[edge][column] for line in search.lines if line.keep[edge][column]]
            assert list(lines.get(palette.tone(op).light, [])) == pytest.approx(lived)


def test_a_search_in_progress_and_an_evaluation_alone_can_be_drawn(run, write_search, tmp_path):
    begun = plots.write_figures(write_search([(CELL, [[0.2] * 5] * 6)], planned=5, finished=False), tmp_path / "begun")
    assert tmp_path / "begun" / "weights-normal.svg" in begun
    assert plots.write_figures(write_search([], planned=5, finished=False, name="new"), tmp_path / "new") == []
    alone = plots.write_figures(run / "evaluation", tmp_path / "alone")
    assert {path.stem for path in alone} == {"cells", "learning"}


def test_drawing_leaves_no_setting_of_matplotlib_behind(run, tmp_path):
    before = dict(rcParams)
    plots.write_figures(run, tmp_path)
    assert dict(rcParams) == before


def test_a_contest_is_drawn_with_the_best_network_on_top_and_the_interval_of_each():
    def contender(name: str, kind: str, *right: int) -> Contender:
        answers = np.array([[place < count for place in range(100)] for count in right])
        return Contender(
            name=name, kind=kind, macs=3_000_000, parameters=5, held_out=(0.5,), right=answers, seconds=1.0
        )

    with plots.drawing():
        (axes,) = plots.contest([contender("found", "found", 70, 80), contender("resnet", "hand", 90)]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["found, 3 M", "resnet, 3 M"]
    found, dot, hand, _ = axes.lines
    assert list(found.get_xdata()) == [70, 80]
    assert list(dot.get_xdata()) == [75]
    low, high = hand.get_xdata()
    assert low < 90 < high
