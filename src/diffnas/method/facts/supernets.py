"""Facts of methods that change the supernet, or search in several stages."""

from dataclasses import replace

from diffnas.method.facts.record import Facts
from diffnas.method.facts.weights import gaea

darts_minus = Facts(
    source="Chu, Wang, Zhang, Lu, Wei & Yan, 2021: DARTS-, Robustly Stepping out of Performance Collapse Without "
    "Indicators",
    equations="""
edge e = sum over k of  softmax(alpha_e)_k op_k(x)  +  beta skip(x)
beta   : from 1 straight towards 0, a step an epoch
the cell that is read off is without it
""",
    published=(
        "CIFAR-10 2.59 ± 0.08% error with 3.5 ± 0.13 M parameters; CIFAR-100 17.51% at best",
        "NAS-Bench-201, test accuracy: 93.80 ± 0.40 CIFAR-10, 71.53 ± 1.51 CIFAR-100, 45.12 ± 0.82 ImageNet16-120",
    ),
    doubts=(
        "No code was released for NAS-Bench-201; a skip beside each of its six edges is our reading.",
        "Two sets of its released cells (S2 and S3 on CIFAR-10) are identical, so one is probably a copy.",
        "ImageNet numbers belong to another space.",
    ),
)

pc_darts = Facts(
    source="Xu, Xie, Zhang, Chen, Qi, Tian & Xiong, 2020: PC-DARTS, Partial Channel Connections for Memory-Efficient "
    "Architecture Search",
    equations="""
x      = (x1, x2),  x1 a quarter of the channels
y_e    = shuffle(concat(sum over k of softmax(alpha_e)_k op_k(x1), x2))
node   = sum over edges e into it of  q_e y_e
q      = softmax of beta over the edges into the node
scores = q_e softmax(alpha_e)_k
alpha and beta stand still for the first 15 of 50 epochs
""",
    published=(
        "CIFAR-10 2.57 ± 0.07% error with 3.6 M parameters, 0.1 GPU-days",
        "ImageNet 24.2% top-1, 7.3% top-5, searched there; 25.1% from the CIFAR-10 cell (not checked)",
        "NAS-Bench-201, test accuracy, by others: 93.41 ± 0.30 CIFAR-10, 67.48 ± 0.89 CIFAR-100, 41.31 ± 0.22 "
        "ImageNet16-120",
    ),
    doubts=(
        "The paper draws the channels at random; its code always takes the first ones and relies on the shuffle.",
        "With smaller batches the rates have to be smaller too, or skips take over, its authors say.",
        "The published cell comes from one search.",
    ),
)

gaea_pc_darts = replace(
    pc_darts,
    source=f"{gaea.source}; on the supernet of PC-DARTS",
    equations="""
theta_e on the simplex over operations, gamma over the edges into a node
both moved as in gaea
node   = sum over edges e into it of  gamma_e y_e
y_e    : as in pc-darts, with theta_e for the softmax
scores = gamma_e theta_ek
""",
    published=("CIFAR-10 2.50 ± 0.06% error with 3.7 M parameters (not checked)", "ImageNet 24.0% top-1 (second hand)"),
    doubts=(
        "No cell of it was released.",
        "It has no warm-up, unlike PC-DARTS; and its cells are those of the epoch that was best on held-out pictures.",
    ),
)

p_darts = Facts(
    source="Chen, Xie, Wu & Tian, 2019: Progressive DARTS, Bridging the Depth Gap between Search and Evaluation",
    equations="""
three searches, each with new weights and alpha:
5, 11, 17 cells;  8, 5, 3 operations an edge
between them every edge loses its weakest operations by softmax(alpha_e)
dropout on skips:  p0 (24 - epoch) / 25  for the first 10 of 25 epochs,
                   then  p0 exp(-0.2 (epoch - 10));   p0 = 0, 0.4, 0.7
alpha stands still in the first 10 epochs of each;  2 skips at most in the end
""",
    published=(
        "CIFAR-10 2.50% error with 3.4 M parameters, CIFAR-100 16.55% with that cell; 15.92% searched there; 0.3 "
        "GPU-days",
        "ImageNet 24.4% top-1, 7.4% top-5, 4.9 M parameters, 557 M multiply-adds",
    ),
    doubts=(
        "The two skips are written into the rule, and chosen by the authors' knowledge of the result.",
        "The released cell PDARTS is from another run than the one in the paper's figure.",
        "Its command line must be given sizes and dropout once a stage, or dropout silently becomes 0.",
    ),
)

darts_pt = Facts(
    source="Wang, Cheng, Chen, Tang & Hsieh, 2021: Rethinking Architecture Selection in Differentiable NAS",
    equations="""
A(W) = accuracy of the supernet on the held-out half under the weights W
one edge after the other, at random:
k* = argmin over k of  A(W with W_ek = 0);   W_e = one_hot(k*)
then each node:  measure A without each of its edges, all others in place,
and remove those without which A is highest, down to two
between two decisions the supernet trains for 5 epochs at a tenth of the rate
""",
    published=(
        "CIFAR-10 2.61 ± 0.08% error with 3.0 M parameters, best 2.48%; 0.8 GPU-days",
        "NAS-Bench-201, CIFAR-10 test error: 11.89%, where DARTS' own reading off gives 45.7%",
        "S1 to S4, CIFAR-10 error: 3.50, 2.79, 2.49, 2.64%, where DARTS has 3.84, 4.85, 3.34, 7.20%",
    ),
    doubts=(
        "Operations are scored with batch statistics and augmented pictures, which the paper does not say.",
        "The released code measures the edges of a node anew after each removal, but with the removed ones back in "
        "place: that changes nothing but the batches. Here they are measured once.",
        "A cosine is built for the rate of the tuning epochs and never stepped: it stays at 0.0025.",
        "With alpha never trained at all the published errors are often lower still.",
    ),
)

darts_pt_fixed = replace(
    darts_pt,
    equations="""
W uniform: alpha never moves, and only the weights are trained
decisions as in darts-pt
""",
    published=(
        "CIFAR-10 2.87% error; NAS-Bench-201, CIFAR-10 test error: 6.20%",
        "S1 to S4, CIFAR-10 error: 2.86, 2.59, 2.52, 2.58%",
    ),
    doubts=darts_pt.doubts[:3],
)

gold_nas = Facts(
    source="Bi, Xie, Chen, Wei & Tian, 2020: GOLD-NAS, Gradual, One-Level, Differentiable",
    equations="""
node  = sum over edges e, operations k of  sigmoid(alpha_ek) op_k(source)
alpha : each cell has its own
r_ek  = sigmoid(alpha_ek) / sum over all that enter the node
L     = L_train + lambda sum over live ops of  ln(1 + N r_ek) (1 + mu MACs_k)
N     : how many operations enter the node
each epoch: what has r <= 0.01 leaves, then up to 4 of the smallest r <= 0.05
then  : if 4 or more left, delta = 1e-5 and lambda halves
        else delta doubles and lambda grows by it
""",
    published=("CIFAR-10 97.23% accuracy, as quoted by Bezirganyan & Akarmazyan, 2022; the rest could not be checked",),
    doubts=(
        "Known to us from a code that is not the authors'; it prunes by adding -1e4 to alpha, which here is a mask.",
        "A rate of 1 on alpha and a strength that doubles make the timing depend on batch and length of the search.",
        "Strong augmentation is what makes one level work on little data, its authors say.",
    ),
    tabular=False,
)

prune_and_replace = Facts(
    source="Laube & Zell, 2019: Prune and Replace NAS",
    equations="""
9 cycles of training with 4, 6, 6, 6, 6, 6, 4, 3, 2 operations an edge
after each the weakest leave by their weight softmax(alpha_e), but never the
best convolution;  after the first five 3 stay, and 3 changed copies join:
parent : a survivor, as likely as its weight
change : kernel + 2 or - 2, dilation + 1 or - 1, one more layer, a wider
         layer inside;  any that is possible, all equally likely
weights: the parent's, kernels padded with zeros or cut around the middle
alpha is drawn anew each cycle, and stands still for its first third
""",
    published=(
        "CIFAR-10, CIFAR-100 error: DL1 2.74, 17.37% with 3.2 M parameters; DL2 2.51, 15.53% with 4.0 M; 0.82 GPU-days",
        "DR 2.55, 16.69% with 4.2 M; UR 3.79% with 5.4 M",
    ),
    doubts=(
        "Two runs of one method, DL1 and DL2, differ by 0.23 points.",
        "Each ranking stands on 7 to 10 epochs of alpha, so it is noisy.",
        "The published batch grows with the free memory, which makes runs depend on the machine; that of DARTS here.",
        "On other spaces it is a method of ours: the first pool is all that an edge offers, and only what has left it "
        "can come back, changed from a survivor. On NAS-Bench-201 that is one of two convolutions.",
        "Its third space, UR, stacks layers without end, which no fixed set of operations can hold: it is not here.",
        "A search of fewer than 9 epochs leaves out the first cycles; with 4 or fewer nothing is replaced.",
        "What a search will cost is told of its first pool; later ones have more operations, and larger ones.",
    ),
)

r_darts = Facts(
    source="Zela, Elsken, Saikia, Marrakchi, Brox & Hutter, 2020: Understanding and Robustifying Differentiable "
    "Architecture Search",
    equations="""
ev    = the largest eigenvalue of the Hessian of L_held_out by alpha
        on one batch, every 2 epochs
mean  = ev averaged over 5 evaluations around it
stop once  mean(now) / mean(4 evaluations ago) > 1.3
and take the cells of that earlier epoch
""",
    published=("DARTS with this stop is better than DARTS in all 12 settings, S1 to S4 on three data sets",),
    doubts=(
        "DARTS- reports good cells while eigenvalues grow.",
        "One batch is noisy, and the Hessian depends on how alpha is turned into weights: compare no methods by it.",
    ),
)
