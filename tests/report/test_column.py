"""A chain as a column of layers."""

import itertools

from diffnas.genotype import parse, read
from diffnas.report.column import arranged
from diffnas.report.page import drawings


def test_a_chain_is_one_column_whose_boxes_do_not_overlap():
    boxes = arranged(read("resnet").cells, "resnet").boxes
    assert len({box.x for box in boxes}) == 1
    assert [box.look for box in boxes].count("dead") == 4
    assert all(above.y + above.height / 2 < below.y - below.height / 2 for above, below in itertools.pairwise(boxes))


def test_everything_is_inside_the_picture():
    picture = arranged(parse("chain:1-1-1 | res_3+mb_3_6 | none | next_7").cells)
    assert all(0 < line.x1 < picture.width and 0 < line.y2 < picture.height for line in picture.lines)
    assert all(box.y + box.height / 2 < picture.height for box in picture.boxes)


def test_a_report_draws_a_chain_once():
    assert list(drawings(read("resnet"), {})) == ["chain"]
