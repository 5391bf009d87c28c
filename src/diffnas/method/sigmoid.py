"""Methods whose operations do not compete: each mixing weight is the sigmoid of its own entry of alpha."""

from __future__ import annotations

from functools import partial

from diffnas.components import discretize, family, level, pruning, regularizer, stopping, update
from diffnas.components.gates import Sigmoid
from diffnas.method.record import Method

fair_darts = Method(
    name="fair-darts",
    weighting=Sigmoid(),
    level=level.bilevel,
    update=partial(update.adam, lr=3e-3, betas=(0.9, 0.999)),
    regularizers=(partial(regularizer.zero_one, weight=10.0),),
    discretize=partial(discretize.sure_inputs, at_least=0.85),
    settings={"batch": 128, "lr": 0.005, "alpha_init": 0.0},
)

single_level_sigmoid = Method(
    name="single-level-sigmoid",
    weighting=Sigmoid(),
    level=level.single,
    discretize=partial(discretize.strongest_inputs, absent_below=0.5),
)

gold_nas = Method(
    name="gold-nas",
    weighting=Sigmoid(),
    level=level.single,
    update=update.sgd,
    regularizers=(regularizer.resources,),
    pruning=pruning.smallest_shares,
    stopping=(stopping.macs_left, stopping.all_single),
    family=family.quiet,
    discretize=discretize.survivors,
    settings={
        "epochs": 300,
        "batch": 96,
        "lr": 0.01,
        "lr_min": 0.01,
        "alpha_init": 0.0,
        "alpha_per": "cell",
        "auxiliary": 0.4,
        "cutout": 16,
    },
)
