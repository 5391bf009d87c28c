"""The methods by name, as plain data: they can be listed without torch."""

CATALOG: dict[str, str] = {
    "sparse": (
        "The sparse method (Bezirganyan & Akarmazyan, 2022): 3-entmax weights, one training loss, and an operation "
        "leaves the supernet for good once its weight is exactly zero. Each edge's winner stands, none included."
    ),
    "entmax3-single": "Another name of sparse.",
    "entmax2-single": "The sparse method with 2-entmax (sparsemax): removes operations much later.",
    "entmax3": "The sparse method on two levels, first order: alpha follows the loss on held-out pictures.",
    "entmax2": "The sparse method on two levels with 2-entmax (sparsemax).",
    "sparse-progressive": (
        "The sparse method with an order that rises from 1 (softmax) to 3 over the first 60% of the run, and nothing "
        "removed before it reaches 1.5: the future work of Bezirganyan & Akarmazyan (2022)."
    ),
    "darts": "DARTS, first order (Liu et al., 2019): softmax weights; alpha follows the loss on held-out pictures.",
    "single-level": "DARTS on a single level: alpha and the weights follow one training loss on the same batch.",
    "path-regularized": (
        "Path-regularized DARTS (Zhou et al., 2020), the paper's form: independent hard-concrete gates, a sparsity "
        "penalty heavier on skips, and a reward for deep chains of operations that learn."
    ),
    "path-regularized-released": (
        "Path-regularized DARTS as its released code has it: two operations an edge at weight 1 with straight-through "
        "gradients, others excluded by chance, three groups with a hinge, its own path term; 6 cells."
    ),
    "gates": (
        "Independent hard-concrete gates alone, without penalties: the ablation of Path-regularized DARTS (Zhou et "
        "al., 2020). An operation leaves for good once its gate is more likely shut than open."
    ),
    "gates-group": (
        "Gates with the group-structured sparsity penalty, heavier on skips; an ablation of path-regularized."
    ),
    "gates-path": "Gates with the reward for deep chains of operations that learn; an ablation of path-regularized.",
    "gates-single": "Gates on a single level: they and the weights follow one training loss. In neither paper.",
    "sparse-path": "The sparse method with the reward for deep chains of Path-regularized DARTS. In neither paper.",
    "darts-2nd": (
        "DARTS, second order (Liu et al., 2019): alpha follows the loss on held-out pictures that the weights will "
        "have after their next step, by a finite-difference product. Five passes a step instead of two."
    ),
    "amended": (
        "Amended gradients (Bi et al., 2019): DARTS with a second term in alpha's gradient, for how the weights follow "
        "alpha, by two finite-difference products. Its scale, 0.1, could not be checked against the paper."
    ),
    "milenas": (
        "MiLeNAS (He et al., 2020), first order: alpha follows the loss on held-out pictures and on training pictures "
        "together. The weights' gradients are clipped as in DARTS; the released code meant to, and clipped alpha's."
    ),
    "milenas-2nd": (
        "MiLeNAS (He et al., 2020), second order: both losses as they will be after the weights' next step. The "
        "released code moves alpha itself in that look-ahead and loses the momentum; this one does neither."
    ),
    "gdas": (
        "GDAS (Dong & Yang, 2019): every pass draws one operation an edge by hard Gumbel-softmax, cooling from 10 to "
        "0.1. All operations run here, which is slower, and alpha gets the exact straight-through gradient, as the "
        "paper has it; not so gdas-released."
    ),
    "gdas-released": (
        "GDAS as its released code has it: only the drawn operation of an edge runs and is trained, and the weight of "
        "any other gets the sum of the gradient of the feature map, not its product with what the operation would give."
    ),
    "snas": (
        "SNAS (Xie et al., 2019): every pass draws the weights of an edge from a concrete distribution that sharpens "
        "from temperature 1 to 0.03, and one training loss, with the expected cost of the cells, moves alpha and the "
        "weights. Each edge's winner stands, none included. Its constraints are --regularizers expected-cost-mild, "
        "-moderate (as here) and -aggressive."
    ),
    "asap": (
        "ASAP (Noy et al., 2020): a softmax whose temperature falls by 5% an epoch. Once it is below 1, a fifth into "
        "the run, alpha begins to move, and each epoch removes what weighs less than 0.4 of an even share; the search "
        "ends when every edge has one operation left. A run of other than 50 epochs is stretched to the same values."
    ),
    "gold-nas": (
        "GOLD-NAS (Bi et al., 2020): every cell by itself, with sigmoid weights and any number of operations on an "
        "edge. A penalty on resources grows until operations leave, at most a few an epoch, down to 12% of their "
        "multiply-adds; the cells that stood still on the way are kept as a family. Made for --space gold-nas and "
        "strongly augmented pictures (AutoAugment, which is not here, and cutout)."
    ),
    "gaea": (
        "GAEA (Li et al., 2021): weights on the simplex instead of softmax, moved by exponentiated gradients; the "
        "cells of the epoch that was best on held-out pictures. Published on NAS-Bench-201 after 25 of 50 epochs "
        "(--stopping after:25), with 24 channels and without none."
    ),
    "gaea-single": (
        "GAEA (Li et al., 2021) on a single level: the weights of the edges and of the network follow the training "
        "loss, here on one batch; the released code draws another one of the same pictures for the former."
    ),
    "darts-plus": (
        "DARTS+ (Liang et al., 2019), criterion 1: DARTS that ends once its normal cell would have two skip "
        "connections. The result is the last cell with fewer; the paper does not say which it takes."
    ),
    "darts-plus-ranks": (
        "DARTS+ (Liang et al., 2019), criterion 2: DARTS that ends once the strongest of the operations that learn "
        "has been the same for 10 epochs on every edge of the normal cell; our reading of which edges count."
    ),
    "r-darts": (
        "RobustDARTS' early stop, DARTS-ES (Zela et al., 2020): second-order DARTS that ends once the largest "
        "eigenvalue of the held-out loss's Hessian for alpha has grown by 1.3, and goes back to the cell from before "
        "that. Any method can have the parts: --stopping eigenvalue --pick before-growth --set eigenvalue_every=2."
    ),
    "darts-pt": (
        "DARTS+PT (Wang et al., 2021): DARTS, first order, whose cells are selected by perturbation: edge by edge, the "
        "operation without which the supernet is right least often, with 5 epochs of tuning in between. Published on "
        "the DARTS space without none."
    ),
    "darts-pt-fixed": (
        "DARTS+PT with fixed alpha (Wang et al., 2021): every operation of an edge has the same weight, only the "
        "network's weights are trained, and perturbation selects the cells."
    ),
    "fair-darts": (
        "FairDARTS (Chu et al., 2020): sigmoid weights, so that skips win nothing from others, and a loss that drives "
        "each to 0 or 1. An operation stays if it reaches 0.85. Published on the DARTS space without none."
    ),
    "darts-minus": (
        "DARTS- (Chu et al., 2021): a skip beside the operations of every edge, its weight falling from 1 towards 0, "
        "carries what makes a supernet train; so the skip that can be chosen wins only for what it is worth. On "
        "NAS-Bench-201, for which no code was released, our reading: the same on each edge."
    ),
    "pc-darts": (
        "PC-DARTS (Xu et al., 2020): one in four channels of a node goes through the operations and the rest passes "
        "by, for less memory and larger batches; edges have strengths of their own, and alpha waits for 15 of 50 "
        "epochs. The first channels, as in its code, where the paper says random ones. With smaller batches take a "
        "lower --lr, or skips win."
    ),
    "p-darts": (
        "P-DARTS (Chen et al., 2019): three stages with new supernets of 5, 11 and 17 cells and up to 8, 5 and 3 "
        "operations an edge; dropout on skips, and at most two of them in the normal cell. Other --depth, deeper by "
        "the same factors. Its dropout is that of CIFAR-10; the released command starts at 0.1 instead of 0.0."
    ),
    "prune-and-replace": (
        "Prune and Replace NAS (Laube & Zell, 2019): nine cycles of training; after each the weakest operations of an "
        "edge leave, and changed copies of the others come in with their weights: other kernels, dilation, layers, "
        "widths. In its own spaces prune-and-replace-dl (the default) and -dr; in others among what they offer."
    ),
    "gaea-pc-darts": (
        "GAEA (Li et al., 2021) on the supernet of PC-DARTS: weights of operations and strengths of edges on the "
        "simplex, both moved by exponentiated gradients from the first epoch on. Its code lets the strengths fall "
        "without a floor; here both stay above 1e-5."
    ),
    "single-level-sigmoid": (
        "Single-level sigmoid DARTS (Hou & Jin, 2020): sigmoid weights that follow the training loss together with "
        "the network's. Its optional end at a target size is --stopping size:1e6; its learning rates are not known."
    ),
}
"""What each method of ``diffnas.method`` changes and where it comes from, in the order in which they are listed."""
