"""The methods by name, as plain data: they can be listed without torch."""

CATALOG: dict[str, str] = {
    "sparse": (
        "The sparse method (Bezirganyan & Akarmazyan, 2022): 3-entmax weights and one training loss. An operation "
        "leaves the supernet for good once its weight is exactly zero. Each edge keeps its winner, which may be none."
    ),
    "entmax3-single": "Another name of sparse.",
    "entmax2-single": "The sparse method with 2-entmax (sparsemax), which removes operations much later.",
    "entmax3": "The sparse method on two levels, first order: alpha follows the loss on held-out pictures.",
    "entmax2": "The sparse method on two levels with 2-entmax (sparsemax).",
    "sparse-progressive": (
        "The sparse method with an order that rises from 1 (softmax) to 3 over the first 60% of the run. Nothing is "
        "removed before the order reaches 1.5. Bezirganyan & Akarmazyan (2022) name this as future work."
    ),
    "darts": "DARTS, first order (Liu et al., 2019): softmax weights; alpha follows the loss on held-out pictures.",
    "single-level": "DARTS on a single level: alpha and the weights follow one training loss on the same batch.",
    "path-regularized": (
        "Path-regularized DARTS (Zhou et al., 2020) as in the paper: independent hard-concrete gates, a sparsity "
        "penalty that is heavier on skips, and a reward for deep chains of operations that learn."
    ),
    "path-regularized-released": (
        "Path-regularized DARTS as in its released code: two operations of each edge have weight 1, with straight-"
        "through gradients, and chance excludes others. It has three penalized groups, each above a margin, another "
        "path term, and 6 cells."
    ),
    "gates": (
        "Independent hard-concrete gates without penalties, an ablation of Path-regularized DARTS (Zhou et al., 2020). "
        "An operation leaves for good once its gate is more likely shut than open."
    ),
    "gates-group": (
        "Gates with the group-structured sparsity penalty, which is heavier on skips; an ablation of path-regularized."
    ),
    "gates-path": "Gates with the reward for deep chains of operations that learn; an ablation of path-regularized.",
    "gates-single": "Gates on a single level: gates and weights follow one training loss. Not published.",
    "sparse-path": "The sparse method with the reward for deep chains from Path-regularized DARTS. Not published.",
    "darts-2nd": (
        "DARTS, second order (Liu et al., 2019): alpha follows the held-out loss that the weights will have after "
        "their next step. Second derivatives come from finite differences. A step has five passes instead of two."
    ),
    "amended": (
        "Amended gradients (Bi et al., 2019): DARTS with a second term in alpha's gradient, because the weights follow "
        "alpha. It takes two finite-difference products. We could not check its scale, 0.1, against the paper."
    ),
    "milenas": (
        "MiLeNAS (He et al., 2020), first order: alpha follows the sum of the losses on held-out and on training "
        "pictures. The weights' gradients are clipped as in DARTS; the released code clips alpha's by mistake."
    ),
    "milenas-2nd": (
        "MiLeNAS (He et al., 2020), second order: alpha follows both losses after the weights' next step. In this "
        "look-ahead, the released code moves alpha and loses the momentum; here it does neither."
    ),
    "gdas": (
        "GDAS (Dong & Yang, 2019): each pass draws one operation for each edge by hard Gumbel-softmax, at a "
        "temperature from 10 to 0.1. Here all operations run, which is slower, and alpha gets the exact straight-"
        "through gradient, as in the paper but not in gdas-released."
    ),
    "gdas-released": (
        "GDAS as in its released code: only the drawn operation of an edge runs and is trained. The mixing weight of "
        "another operation gets the sum of the feature map's gradient, not multiplied by that operation's output."
    ),
    "snas": (
        "SNAS (Xie et al., 2019): each pass draws the mixing weights of an edge from a concrete distribution, at a "
        "temperature from 1 to 0.03. One training loss, with the expected cost of the cells, moves alpha and the "
        "weights. Each edge keeps its winner, which may be none. Its constraints are --regularizers "
        "expected-cost-mild, -moderate (the default) and -aggressive."
    ),
    "asap": (
        "ASAP (Noy et al., 2020): a softmax whose temperature falls by 5% in each epoch. After a fifth of the run it "
        "is below 1. Then alpha begins to move, and each epoch removes operations below 0.4 of an even share. The "
        "search ends when each edge has one operation left. The schedule of 50 epochs is stretched to other lengths."
    ),
    "gold-nas": (
        "GOLD-NAS (Bi et al., 2020): each cell has its own alpha, with sigmoid weights and any number of operations on "
        "an edge. A penalty on resources grows until a few operations leave in each epoch, down to 12% of their "
        "multiply-adds. The cells of longer pauses on the way are kept as a family. It is made for --space gold-nas "
        "and strongly augmented pictures (cutout, and AutoAugment, which is not here)."
    ),
    "gaea": (
        "GAEA (Li et al., 2021): mixing weights on the simplex instead of softmax, moved by exponentiated gradients. "
        "The result is from the epoch that was best on held-out pictures. The published searches of NAS-Bench-201 end "
        "after 25 of 50 epochs (--stopping after:25), with 24 channels and without none."
    ),
    "gaea-single": (
        "GAEA (Li et al., 2021) on a single level: the mixing weights and the network's weights follow the training "
        "loss, here on the same batch. The released code draws a separate batch of the same pictures for the former."
    ),
    "darts-plus": (
        "DARTS+ (Liang et al., 2019), criterion 1: DARTS that ends once its normal cell would have two skip "
        "connections. The result is the last cell with fewer; the paper does not say which cell it takes."
    ),
    "darts-plus-ranks": (
        "DARTS+ (Liang et al., 2019), criterion 2: DARTS that ends once the strongest operation with weights has been "
        "the same for 10 epochs on each edge of the normal cell. Which edges count is our choice."
    ),
    "r-darts": (
        "DARTS-ES, the early stop of RobustDARTS (Zela et al., 2020): second-order DARTS that ends once the largest "
        "eigenvalue of the held-out loss's Hessian for alpha has grown by a factor of 1.3. The result is the cell from "
        "before the growth. For any method: --stopping eigenvalue --pick before-growth --set eigenvalue_every=2."
    ),
    "darts-pt": (
        "DARTS+PT (Wang et al., 2021): DARTS, first order, whose cells are selected by perturbation. Edge by edge, it "
        "keeps the operation without which the supernet is right least often, then tunes the weights for 5 epochs. It "
        "is published on the DARTS space without none."
    ),
    "darts-pt-fixed": (
        "DARTS+PT with fixed alpha (Wang et al., 2021): all operations of an edge have the same mixing weight, only "
        "the network's weights are trained, and perturbation selects the cells."
    ),
    "fair-darts": (
        "FairDARTS (Chu et al., 2020): sigmoid weights, so that skips do not compete with others, and a loss that "
        "drives each weight to 0 or 1. An operation stays if its weight reaches 0.85. It is published on the DARTS "
        "space without none."
    ),
    "darts-minus": (
        "DARTS- (Chu et al., 2021): each edge has a skip beside its operations, whose weight falls from 1 towards 0. "
        "It helps the supernet train, so the skip that can be chosen no longer wins for this reason. On NAS-Bench-201, "
        "for which no code was released, we do the same on each edge."
    ),
    "pc-darts": (
        "PC-DARTS (Xu et al., 2020): one in four channels of a node goes through the operations, and the others bypass "
        "them, for less memory and larger batches. Edges have their own strengths, and alpha stands still for 15 of 50 "
        "epochs. As in its code, the first channels are taken; the paper says random ones. With smaller batches, take "
        "a lower --lr, or skips win."
    ),
    "p-darts": (
        "P-DARTS (Chen et al., 2019): three stages with new supernets of 5, 11 and 17 cells and up to 8, 5 and 3 "
        "operations on each edge. Skips have dropout, and the normal cell has at most two of them. Another --depth is "
        "multiplied by the same factors. The dropout is that for CIFAR-10; the released command begins with 0.1, not "
        "0.0."
    ),
    "prune-and-replace": (
        "Prune and Replace NAS (Laube & Zell, 2019): nine cycles of training. After each, the weakest operations of an "
        "edge leave. Changed copies of the others enter with their weights, but another kernel, dilation, width or "
        "number of layers. It is made for prune-and-replace-dl (the default) and -dr; other spaces offer fewer changes."
    ),
    "gaea-pc-darts": (
        "GAEA (Li et al., 2021) on the supernet of PC-DARTS: the mixing weights and the strengths of edges are on the "
        "simplex. Exponentiated gradients move both from the first epoch on. Its code has no floor for the strengths; "
        "here both stay above 1e-5."
    ),
    "single-level-sigmoid": (
        "Single-level sigmoid DARTS (Hou & Jin, 2020): sigmoid weights that follow the training loss together with "
        "the network's weights. Its optional end at a target size is --stopping size:1e6. We do not know its learning "
        "rates."
    ),
}
"""What each method of ``diffnas.method`` changes and where it comes from, in the order in which they are listed."""
