import subprocess
import sys
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnas.genotype import PUBLISHED, Cell, Connection, Genotype, parse, published
from diffnas.report import draw as drawing
from diffnas.report import palette
from diffnas.report.draw import draw, svg, svg_of
from diffnas.report.layered import crossings, heights, ordered
from diffnas.report.layout import FONT, Box, layout, plan, short
from diffnas.space import DARTS_OPS, NAS_BENCH_201_OPS

SVG = "{http://www.w3.org/2000/svg}"
NAS_BENCH_201 = parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_3x3~1|skip_connect~2|")


def darts(connections, nodes=6, output=(2, 3, 4, 5)):
    cell = Cell(inputs=2, nodes=nodes, connections=tuple(Connection(*c) for c in connections), output=output)
    return Genotype(skeleton="darts", cells={"normal": cell, "reduce": cell})


DENSE = darts((DARTS_OPS[1 + (s + 2 * t) % 7], s, t) for t in range(2, 6) for s in range(t))
EMPTY = darts(())


@st.composite
def genotypes(draw):
    nodes = draw(st.integers(3, 9))
    edges = [(s, t) for t in range(2, nodes) for s in range(t)]
    connection = st.tuples(st.sampled_from(DARTS_OPS[1:]), st.sampled_from(edges))
    listed = [(op, s, t) for op, (s, t) in draw(st.lists(connection, max_size=20))]
    output = draw(st.lists(st.integers(2, nodes - 1), min_size=1, unique=True))
    return darts(sorted(listed, key=lambda c: c[2]), nodes, tuple(output))


def points(line):
    """Points of a line as it is drawn."""
    x1, y1, x2, y2 = line[:4]
    middle = (x1 + x2) / 2
    for t in (step / 20 for step in range(1, 20)):
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
        yield a * x1 + b * middle + c * middle + d * x2, a * y1 + b * y1 + c * y2 + d * y2


def check_nothing_overlaps(genotype):
    picture = layout(genotype.cells, "A title")
    for a, b in combinations(picture.boxes, 2):
        apart_x = abs(a.x - b.x) - (a.width + b.width) / 2
        apart_y = abs(a.y - b.y) - (a.height + b.height) / 2
        assert max(apart_x, apart_y) > 7.9, (a, b)
    for box in picture.boxes:
        assert box.width / 2 < box.x < picture.width - box.width / 2
        assert box.height / 2 < box.y < picture.height - box.height / 2
        assert all(box.y - box.height / 2 > heading.y or box.y < heading.y - FONT for heading in picture.headings)
        for line in picture.lines:
            assert 0 < line.x1 <= line.x2 < picture.width
            own = line.y1 == line.y2 == box.y and line.x1 < box.x < line.x2  # the line through an operation
            if not own:
                assert not any(
                    abs(x - box.x) < box.width / 2 and abs(y - box.y) < box.height / 2 for x, y in points(line)
                )
    level = [line for line in picture.lines if line.y1 == line.y2]
    for a, b in combinations(level, 2):
        if (a.x1, a.x2) == (b.x1, b.x2):
            assert abs(a.y1 - b.y1) > 7.9


@pytest.mark.parametrize("name", PUBLISHED)
def test_nothing_overlaps_in_a_published_cell(name):
    check_nothing_overlaps(published(name))


@pytest.mark.parametrize("genotype", [NAS_BENCH_201, DENSE, EMPTY, darts([("noise", 0, 2)] * 5)])
def test_nothing_overlaps_in_a_full_cell_or_an_empty_one(genotype):
    check_nothing_overlaps(genotype)


@settings(deadline=None, max_examples=25)
@given(genotypes())
def test_nothing_overlaps_in_any_cell(genotype):
    check_nothing_overlaps(genotype)


@pytest.mark.parametrize("genotype", [NAS_BENCH_201, DENSE, EMPTY, published("NASNet")])
def test_every_connection_and_every_node_is_drawn_once(genotype):
    texts = sorted(box.text for box in layout(genotype.cells).boxes)
    expected = []
    for cell in genotype.cells.values():
        expected += [short(connection.op) for connection in cell.connections]
        expected += ["input", "output"] if cell.inputs == 1 else ["cₖ₋₂", "cₖ₋₁", "cₖ"]
        expected += map(str, range(cell.inputs, cell.nodes))
    assert texts == sorted(expected)


def test_every_operation_is_linked_to_its_target_by_an_arrow():
    arrows = [line for line in layout(DENSE.cells).lines if line.arrow]
    assert sum(line.look == "flow" for line in arrows) == 28
    assert sum(line.look == "join" for line in arrows) == 8


def test_dead_nodes_and_what_they_feed_look_dead():
    picture = layout(published("FairDARTS_c").cells)
    assert [box.text for box in picture.boxes if box.look == "dead"] == ["3", "skip"]
    assert {line.arrow for line in picture.lines if line.look == "dead"} == {True, False}
    assert svg(published("FairDARTS_c")).count("stroke-dasharray") == 2 + 3
    assert "stroke-dasharray" not in svg(DENSE)


def test_an_output_that_nothing_reaches_looks_dead():
    outputs = [box for box in layout(EMPTY.cells).boxes if box.text == "cₖ"]
    assert [box.look for box in outputs] == ["dead", "dead"]


@pytest.mark.parametrize(
    ("op", "spoken"),
    [
        ("skip_connect", "skip"),
        ("max_pool_3x3", "max pool 3×3"),
        ("dil_conv_3x3", "dil conv 3×3"),
        ("nor_conv_1x1", "conv 1×1"),
        ("conv_7x1_1x7", "conv 7×1 1×7"),
        ("mix_of_mine", "mix of mine"),
    ],
)
def test_an_operation_has_a_readable_name(op, spoken):
    assert short(op) == spoken


LOOKS = [Box(0, 0, 9, 9, 1, "", look) for look in drawing._BOXES]
LOOKS += [Box(0, 0, 9, 9, 1, "", "op", op) for op in (*DARTS_OPS, *NAS_BENCH_201_OPS, "noise", "of_mine", "another")]


@pytest.mark.parametrize("box", LOOKS, ids=lambda box: box.op or box.look)
def test_labels_can_be_read_on_their_background(box, contrast):
    look = drawing._look(box)
    assert contrast(look.fill, look.ink) >= 4.5


@pytest.mark.parametrize("name", ["DARTS_V2", "AmoebaNet"])
def test_labels_fit_into_their_boxes(name):
    from matplotlib.textpath import TextPath

    for box in layout(published(name).cells).boxes:
        assert TextPath((0, 0), box.text, size=FONT).get_extents().width <= box.width - 8


def test_the_svg_is_xml_with_a_title_and_a_description():
    root = ElementTree.fromstring(svg(published("DARTS_V2"), title="a < b & 'c'"))
    assert root.find(f"{SVG}title").text == "a < b & 'c'"
    assert "normal cell: sep_conv_3x3 from 0 to 2" in root.find(f"{SVG}desc").text
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts[:3] == ["a < b & 'c'", "normal cell", "reduce cell"]
    assert texts.count("max pool 3×3") == 5


def test_for_a_page_colors_are_left_to_its_style():
    themed = svg_of(published("DARTS_V2").cells, classes={"sep_conv_3x3": "op4"})
    assert themed.count('class="box op op4"') == published("DARTS_V2").cells["normal"].count("sep_conv_3x3")
    assert 'fill="#' not in themed.replace(f'fill="{palette.INK}"', "")


def test_a_plan_tells_the_way_of_every_connection():
    cell = DENSE.cells["normal"]
    planned = plan(cell)
    whole = layout(DENSE.cells)
    assert [route.box.op for route in planned.routes] == [connection.op for connection in cell.connections]
    for connection, route in zip(cell.connections, planned.routes, strict=True):
        source, target = (planned.nodes[node] for node in (connection.source, connection.target))
        assert route.lines[0][:2] == pytest.approx((source.x + source.width / 2, source.y))
        assert route.lines[-1][2:4] == pytest.approx((target.x - target.width / 2, target.y))
        for before, after in pairwise(route.lines):
            assert before[2:4] == pytest.approx(after[:2])
    assert planned.width <= whole.width
    assert len(planned.nodes) == cell.nodes + 1


def test_an_operation_with_markup_in_its_name_is_escaped():
    root = ElementTree.fromstring(svg(darts([("<b>&", 0, 2)])))
    assert [element.text for element in root.iter(f"{SVG}text")].count("<b>&") == 2


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<svg "), (".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_the_ending_of_the_name_decides_the_format(tmp_path, suffix, start):
    path = tmp_path / f"cell{suffix}"
    assert draw(NAS_BENCH_201, path, title="$x$") == [path]
    first = path.read_bytes()
    assert first.startswith(start)
    draw(NAS_BENCH_201, path, title="$x$")
    assert path.read_bytes() == first


def test_without_an_ending_every_format_is_written(tmp_path):
    written = draw(NAS_BENCH_201, tmp_path / "cell")
    assert written == [tmp_path / "cell.svg", tmp_path / "cell.png", tmp_path / "cell.pdf"]
    assert sorted(written) == sorted(tmp_path.iterdir())


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cannot draw into 'cell\.gif': end its name in \.svg, \.png, \.pdf"):
        draw(NAS_BENCH_201, tmp_path / "cell.gif")


def test_writing_svg_needs_no_matplotlib():
    code = (
        "import sys; from diffnas.genotype import published; from diffnas.report.draw import svg; "
        "svg(published('SNAS')); sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ordering_columns_removes_crossings_that_can_be_removed():
    columns, links = [["a", "b"], ["p", "q", "r"], ["x", "y"]], [("a", "r"), ("b", "p"), ("r", "x"), ("p", "y")]
    assert crossings(columns, links) == 2
    assert crossings(ordered(columns, links), links) == 0


def test_ordering_never_adds_crossings_and_keeps_the_first_column():
    columns = [["a", "b", "c"], ["p", "q", "r"], ["x", "y"]]
    links = [(a, p) for a in "abc" for p in "pqr"] + [("p", "y"), ("q", "x"), ("r", "y")]
    better = ordered(columns, links)
    assert better[0] == columns[0]
    assert [sorted(column) for column in better] == columns
    assert crossings(better, links) == 9 < crossings(columns, links) == 10


def test_heights_keep_the_order_and_the_space_and_line_up_what_is_linked():
    size = {"a": 10.0, "p": 10.0, "q": 20.0}
    y = heights([["a"], ["p", "q"]], [("a", "q")], size, 5.0)
    assert y["q"] - y["p"] >= 20.0
    assert y["a"] == pytest.approx(y["q"], abs=0.5)


def test_a_cell_that_nobody_could_read_is_not_drawn():
    chain = tuple(Connection("sep_conv_3x3", target - 1, target) for target in range(1, 400))
    with pytest.raises(ValueError, match=r"400 nodes and 399 connections.* too large to be drawn"):
        plan(Cell(inputs=1, nodes=400, connections=chain, output=(399,)))
