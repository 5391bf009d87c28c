"""Colors that people can tell apart, however they see colors."""

from itertools import combinations
from math import dist

import pytest

from diffnas.report.palette import DARK_PAPER, PAPER, tint, tone
from diffnas.space import DARTS_OPS, NAS_BENCH_201_OPS, RECURRENT_OPS, transformer

# Machado, Oliveira and Fernandes (2009), whole loss of one kind of cone; linear RGB to linear RGB.
SIGHT = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def seen(color, sight):
    """A color as OKLab has it (Ottosson, 2020): distances are about as large as they look."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    rgb = [max(0.0, c) for c in times(SIGHT[sight], linear)]
    cones = times(((0.4122, 0.5363, 0.0514), (0.2119, 0.6807, 0.1074), (0.0883, 0.2817, 0.6300)), rgb)
    roots = [max(0.0, c) ** (1 / 3) for c in cones]
    return times(((0.2105, 0.7936, -0.0041), (1.9780, -2.4286, 0.4506), (0.0259, 0.7828, -0.8087)), roots)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "ops",
    [DARTS_OPS, NAS_BENCH_201_OPS, transformer.ops, RECURRENT_OPS],
    ids=["darts", "nas-bench-201", "transformer", "recurrent"],
)
def test_no_two_operations_of_a_space_look_alike(ops, theme, sight):
    colors = [getattr(tone(op), theme) for op in ops]
    # 0.02 is about what can just be told apart side by side.
    assert min(dist(seen(a, sight), seen(b, sight)) for a, b in combinations(colors, 2)) > 0.06


@pytest.mark.parametrize(
    "op", [*DARTS_OPS, *NAS_BENCH_201_OPS, *transformer.ops, *(f"mine_{number}" for number in range(20))]
)
def test_a_line_stands_out_from_the_paper(op, contrast):
    assert contrast(tone(op).light, PAPER) >= 3
    assert contrast(tone(op).dark, DARK_PAPER) >= 3


def test_a_tint_lies_between_the_color_and_the_paper():
    assert tint("#ff0000", "#0000ff") == "#2900d6"
