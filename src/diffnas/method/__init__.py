"""Methods: a published method is a value that names its components.

Compose your own with ``dataclasses.replace``::

    replace(darts, name="mine", weighting=partial(weighting.entmax, order=1.5), level=level.single)
"""

from diffnas.method.annealed import asap
from diffnas.method.dense import darts, single_level
from diffnas.method.drawn import gdas, gdas_released, snas
from diffnas.method.entmax import (
    entmax2,
    entmax2_single,
    entmax3,
    entmax3_single,
    sparse,
    sparse_path,
    sparse_progressive,
)
from diffnas.method.gated import (
    gates,
    gates_group,
    gates_path,
    gates_single,
    path_regularized,
    path_regularized_released,
)
from diffnas.method.geometric import gaea, gaea_single
from diffnas.method.gradients import amended, darts_2nd, milenas, milenas_2nd
from diffnas.method.progressive import p_darts, prune_and_replace
from diffnas.method.record import Method, components, describe
from diffnas.method.selected import darts_pt, darts_pt_fixed
from diffnas.method.sigmoid import fair_darts, gold_nas, single_level_sigmoid
from diffnas.method.stopped import darts_plus, darts_plus_ranks, r_darts
from diffnas.method.supernets import darts_minus, gaea_pc_darts, pc_darts
from diffnas.method.tables import COMPONENTS, METHODS, component, compose

__all__ = [
    "COMPONENTS",
    "METHODS",
    "Method",
    "amended",
    "asap",
    "component",
    "components",
    "compose",
    "darts",
    "darts_2nd",
    "darts_minus",
    "darts_plus",
    "darts_plus_ranks",
    "darts_pt",
    "darts_pt_fixed",
    "describe",
    "entmax2",
    "entmax2_single",
    "entmax3",
    "entmax3_single",
    "fair_darts",
    "gaea",
    "gaea_pc_darts",
    "gaea_single",
    "gates",
    "gates_group",
    "gates_path",
    "gates_single",
    "gdas",
    "gdas_released",
    "gold_nas",
    "milenas",
    "milenas_2nd",
    "p_darts",
    "path_regularized",
    "path_regularized_released",
    "pc_darts",
    "prune_and_replace",
    "r_darts",
    "single_level",
    "single_level_sigmoid",
    "snas",
    "sparse",
    "sparse_path",
    "sparse_progressive",
]
