"""Path-regularized DARTS, its released form and its ablations: gates that open and shut independently."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, level, pruning, regularizer
from diffnas.components.gates import HardConcrete, StrongestGates
from diffnas.method.record import Method

# The training of the released search of Zhou et al. (2020), as far as it is known. That of the paper is unknown.
_ZHOU_SETTINGS = {"epochs": 200, "batch": 250, "nesterov": True, "weight_decay": 5e-4}

_groups = partial(regularizer.group_sparsity, skip=0.01, rest=0.005)
_path = partial(regularizer.path_depth, weight=0.005)

gates = Method(
    name="gates",
    weighting=HardConcrete(),
    level=level.bilevel,
    pruning=pruning.shut,
    discretize=partial(discretize.strongest_pairs, absent_below=0.5),
    settings=_ZHOU_SETTINGS,
)

gates_group = replace(
    gates,
    name="gates-group",
    regularizers=(_groups,),
)

gates_path = replace(
    gates,
    name="gates-path",
    regularizers=(_path,),
)

path_regularized = replace(
    gates,
    name="path-regularized",
    regularizers=(_groups, _path),
)

path_regularized_released = replace(
    path_regularized,
    name="path-regularized-released",
    weighting=StrongestGates(),
    level=level.weights_first,
    pruning=None,
    discretize=partial(discretize.strongest_pairs, shares=True, absent_below=0.5),
    regularizers=(
        partial(regularizer.hinged_groups, skip=0.01, rest=0.005, margin=0.2),
        partial(regularizer.path_of_chosen, weight=0.005),
    ),
    settings={**_ZHOU_SETTINGS, "depth": 6},
)

gates_single = replace(
    gates,
    name="gates-single",
    level=level.single,
)
