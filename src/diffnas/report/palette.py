"""The color of every operation, the same in all drawings of cells and in plots, with tones for light and dark paper.

Related operations share a hue, and a larger kernel has a deeper tone. The hues were chosen so that no two operations of
a space look alike, also to people with protanopia, deuteranopia or tritanopia. ``none`` is gray, and its lines are
dotted.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

PAPER, INK = "#fdfdfb", "#1f2937"
DARK_PAPER = "#16181b"
_TINT = 0.16


class Tone(NamedTuple):
    """The color of one operation: its tone for lines on light paper, and its tone on dark paper."""

    light: str
    dark: str


_OWN = {
    "none": Tone("#8b9099", "#868b94"),
    "skip_connect": Tone("#1c1c1a", "#f4f2ea"),
    "max_pool_3x3": Tone("#1c4fc4", "#3f74f0"),
    "avg_pool_3x3": Tone("#1595dd", "#4db8ff"),
    "sep_conv_3x3": Tone("#d67008", "#d9983f"),
    "sep_conv_5x5": Tone("#8f2500", "#cf3a1a"),
    "dil_conv_3x3": Tone("#a8608f", "#fd7cc9"),
    "dil_conv_5x5": Tone("#591b69", "#7d5f96"),
    "nor_conv_1x1": Tone("#488100", "#a5d99f"),
    "nor_conv_3x3": Tone("#004c05", "#418d28"),
    "tanh": Tone("#1c4fc4", "#3f74f0"),
    "relu": Tone("#d67008", "#d9983f"),
    "sigmoid": Tone("#a8608f", "#fd7cc9"),
    "identity": Tone("#1c1c1a", "#f4f2ea"),
    "attn_half": Tone("#0095ff", "#34c9ff"),
    "attn_2": Tone("#0032f7", "#4e9eff"),
    "attn_4": Tone("#29103e", "#2679e4"),
    "window_4": Tone("#4f1289", "#89578e"),
    "sepconv_3": Tone("#c18716", "#cfbc3b"),
    "sepconv_7": Tone("#670f00", "#ee001c"),
    "pool_3": Tone("#b82aae", "#ff8fc6"),
    "mlp_1": Tone("#615705", "#b6e2b1"),
    "mlp_4": Tone("#07545e", "#567c43"),
    "glu_2": Tone("#8c714f", "#f9f076"),
}
# Any other operation gets one of these tones. Its name decides which, so that it is the same in every run.
_OTHERS = (
    Tone("#0f766e", "#2dd4bf"),
    Tone("#a16207", "#eab308"),
    Tone("#be123c", "#fb7185"),
    Tone("#4d7c0f", "#a3e635"),
    Tone("#6d28d9", "#a78bfa"),
    Tone("#57534e", "#c4b5a5"),
)


def tone(op: str) -> Tone:
    """The color of an operation.

    >>> tone("skip_connect").light
    '#1c1c1a'
    >>> tone("of_my_own") == tone("of_my_own")
    True
    """
    return _OWN.get(op) or _OTHERS[crc32(op.encode()) % len(_OTHERS)]


def tint(color: str, paper: str = "#ffffff") -> str:
    """A light shade of a color, for a background behind text.

    >>> tint("#000000")
    '#d6d6d6'
    """
    pairs = [(int(color[i : i + 2], 16), int(paper[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(_TINT * a + (1 - _TINT) * b):02x}" for a, b in pairs)
