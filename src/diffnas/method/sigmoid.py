"""Methods whose operations do not compete: the weight of each is the sigmoid of its own alpha."""

from __future__ import annotations

from functools import partial

from diffnas.components import discretize, family, level, pruning, regularizer, stopping, update
from diffnas.components.gates import Sigmoid
from diffnas.method.record import Method

fair_darts = Method(
    name="fair-darts",
    about=(
        "FairDARTS (Chu et al., 2020): sigmoid weights, so that skips win nothing from others, and a loss that drives "
        "each to 0 or 1. An operation stays if it reaches 0.85. Published on the DARTS space without none."
    ),
    weighting=Sigmoid(),
    level=level.bilevel,
    update=partial(update.adam, lr=3e-3, betas=(0.9, 0.999)),
    regularizers=(partial(regularizer.zero_one, weight=10.0),),
    discretize=partial(discretize.sure_inputs, at_least=0.85),
    settings={"batch": 128, "lr": 0.005, "alpha_init": 0.0},
)

single_level_sigmoid = Method(
    name="single-level-sigmoid",
    about=(
        "Single-level sigmoid DARTS (Hou & Jin, 2020): sigmoid weights that follow the training loss together with "
        "the network's. Its optional end at a target size is --stopping size:1e6; its learning rates are not known."
    ),
    weighting=Sigmoid(),
    level=level.single,
    discretize=partial(discretize.strongest_inputs, absent_below=0.5),
)

gold_nas = Method(
    name="gold-nas",
    about=(
        "GOLD-NAS (Bi et al., 2020): every cell by itself, with sigmoid weights and any number of operations on an "
        "edge. A penalty on resources grows until operations leave, at most a few an epoch, down to 12% of their "
        "multiply-adds; the cells that stood still on the way are kept as a family. Made for --space gold-nas and "
        "strongly augmented pictures (AutoAugment, which is not here, and cutout)."
    ),
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
