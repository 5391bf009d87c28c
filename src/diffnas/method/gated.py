"""Path-regularized DARTS, its released form and its ablations: gates that open and shut independently."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from diffnas.components import discretize, level, pruning, regularizer
from diffnas.components.gates import HardConcrete, StrongestGates
from diffnas.method.record import Method

# What is known of the training in the released search of Zhou et al. (2020); the paper's own is not.
_ZHOU_SETTINGS = {"epochs": 200, "batch": 250, "nesterov": True, "weight_decay": 5e-4}

_groups = partial(regularizer.group_sparsity, skip=0.01, rest=0.005)
_path = partial(regularizer.path_depth, weight=0.005)

gates = Method(
    name="gates",
    about=(
        "Independent hard-concrete gates alone, without penalties: the ablation of Path-regularized DARTS (Zhou et "
        "al., 2020). An operation leaves for good once its gate is more likely shut than open."
    ),
    weighting=HardConcrete(),
    level=level.bilevel,
    pruning=pruning.shut,
    discretize=partial(discretize.strongest_pairs, absent_below=0.5),
    settings=_ZHOU_SETTINGS,
)

gates_group = replace(
    gates,
    name="gates-group",
    about="Gates with the group-structured sparsity penalty, heavier on skips; an ablation of path-regularized.",
    regularizers=(_groups,),
)

gates_path = replace(
    gates,
    name="gates-path",
    about="Gates with the reward for deep chains of operations that learn; an ablation of path-regularized.",
    regularizers=(_path,),
)

path_regularized = replace(
    gates,
    name="path-regularized",
    about=(
        "Path-regularized DARTS (Zhou et al., 2020), the paper's form: independent hard-concrete gates, a sparsity "
        "penalty heavier on skips, and a reward for deep chains of operations that learn."
    ),
    regularizers=(_groups, _path),
)

path_regularized_released = replace(
    path_regularized,
    name="path-regularized-released",
    about=(
        "Path-regularized DARTS as its released code has it: two operations an edge at weight 1 with straight-through "
        "gradients, others excluded by chance, three groups with a hinge, its own path term; 6 cells."
    ),
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
    about="Gates on a single level: they and the weights follow one training loss. In neither paper.",
    level=level.single,
)
