"""Facts of methods with other mixing weights than softmax."""

from dataclasses import replace

from diffnas.method.facts.record import Facts

gdas = Facts(
    source="Dong & Yang, 2019: Searching for a Robust Neural Architecture in Four GPU Hours",
    equations="""
soft_e = softmax((log softmax(alpha_e) + G_e) / t)
mix_e  = one_hot(argmax soft_e) + soft_e - stop(soft_e)
G      : Gumbel noise, drawn anew in each pass
t      : linear from 10 to 0.1, by epoch
""",
    published=(
        "NAS-Bench-201, test accuracy: 93.61 ± 0.09 CIFAR-10, 70.70 ± 0.30 CIFAR-100, 41.71 ± 0.98 ImageNet16-120",
        "DARTS space: the cell GDAS_V1, 3.37 M parameters",
    ),
    doubts=(
        "The published numbers are those of the released code, which has another gradient: gdas-released.",
        "Here all operations run, so a search is not faster than one of DARTS.",
    ),
)

gdas_released = replace(
    gdas,
    equations="""
mix_e as in gdas;  d(e) = argmax soft_e
edge e = mix_e,d(e) op_d(e)(x)  +  sum over the others k of  mix_ek
so, with dL/dy the gradient for the output of edge e:
dL / d mix_ek = sum over pixels of  dL/dy            for the others
dL / d mix_ek = sum over pixels of  dL/dy  op_k(x)   for the one drawn
""",
    doubts=(
        "The gradient of an operation that was not drawn does not depend on what it would have computed. All "
        "operations of an edge that were not drawn get the same gradient.",
        "Operations that were not drawn keep their weights, momentum and batch norms unchanged. In gdas, decay and "
        "momentum still move the weights. The released code keeps them unchanged only from torch 2.0 on, which deletes "
        "old gradients. Before, it left gradients of zeros, and the weights moved as in gdas.",
    ),
)

snas = Facts(
    source="Xie, Zheng, Liu & Lin, 2019: SNAS, Stochastic Neural Architecture Search",
    equations="""
mix_e = softmax((alpha_e + G_e) / T)     a draw from the concrete distribution
G     : Gumbel noise, drawn anew in each pass, once for all cells of a kind
T     : linear from 1 to 0.03, by epoch
(w, alpha) move together on the gradient of
L     = L_train(w, mix) + lambda sum over edges of  ln E_e
E_e   = sum over k of  softmax(alpha_e)_k MACs_ek     (paper: E_e itself)
at the end each edge keeps its winner by alpha, which may be none
""",
    published=(
        "CIFAR-10 error: 2.98% under the mild constraint with 2.9 M parameters, 2.85 ± 0.02% under the moderate one "
        "with 2.8 M, 3.10 ± 0.04% under the aggressive one with 2.3 M; 1.5 GPU-days (only the first is checked)",
        "ImageNet 27.3% top-1, 9.2% top-5, 4.3 M parameters, 522 M multiply-adds (not checked)",
        "DARTS space: the cells SNAS_mild, 2.66 M parameters as built here, and SNAS_moderate, 2.85 M",
    ),
    doubts=(
        "The lambdas of the three constraints are not published. The released commands have lambda 0.01 for a search "
        "with 8 cells and 0.0015 with 20. We call these moderate and mild, and 0.05 aggressive.",
        "For each cell, the released code averages the logarithms of parameters, multiply-adds and memory accesses, "
        "and it counts pools. Here only multiply-adds count, over all cells of a kind; pools, skips and none are free.",
        "The released code takes the cost of the draw or, with --method discrete, the expected cost. Here it is the "
        "expected cost, whose gradient is not noisy.",
        "In the released code, alpha begins around 1. Softmax is the same for 0, but weight decay is not; here alpha "
        "begins around 0. Adam moves alpha on several GPUs, and so it does here. On one GPU, the released code takes "
        "plain gradient steps of rate 3e-4. Its drop path of 0.3 in the search is not here.",
        "The released temperature is one epoch ahead at first, 0.9935; in the last epoch it is 0.03, as here.",
    ),
)

gaea = Facts(
    source="Li, Khodak, Balcan & Talwalkar, 2021: Geometry-Aware Gradient Algorithms for Neural Architecture Search",
    equations="""
theta_e on the simplex, initially uniform; mix_e = theta_e
u       = theta_e exp(-lr grad_theta L_held_out),   u = max(u, 1e-5)
theta_e = u / sum(u)                 lr = 0.1, constant, no momentum
""",
    published=(
        "NAS-Bench-201, bilevel, test accuracy: 91.87 CIFAR-10, 71.87 CIFAR-100, 45.69 ImageNet16-120 (not checked)",
        "CIFAR-10 2.50 ± 0.06% error with partial channels (not checked)",
    ),
    doubts=(
        "The published searches of NAS-Bench-201 have 24 channels, a space without none, and end after 25 of 50 "
        "epochs: --stopping after:25 --channels 24.",
        "One of the two released updates clamps before it normalizes, the other after. Here it is the first.",
    ),
)

gaea_single = replace(
    gaea,
    equations=gaea.equations.replace("L_held_out", "L_train   "),
    published=(
        "NAS-Bench-201, test accuracy: 94.10 CIFAR-10, 73.43 CIFAR-100, 46.36 ImageNet16-120 (second hand)",
        "Another paper gives 72.60 for CIFAR-100",
    ),
    doubts=(
        "The released code first moves theta on a separate batch of all training pictures, then the weights. Here both "
        "follow the same batch.",
        *gaea.doubts,
    ),
)

asap = Facts(
    source="Noy, Nayman, Ridnik, Zamir, Doveh, Friedman, Giryes & Zelnik-Manor, 2020: ASAP, Architecture Search, "
    "Anneal and Prune",
    equations="""
mix_e = softmax(alpha_e / T),   T = 1.6 * 0.95^epoch
once T < 1: alpha moves; each epoch removes operations with mix_ek < 0.4 / n
n     : how many operations the edge had at first
the search ends when each edge has one operation left
""",
    published=("CIFAR-10 1.68% error, 0.2 GPU-days",),
    doubts=(
        "The 1.68% are from a larger network with strong augmentation, so they cannot be compared with DARTS' recipe.",
        "No code of the search was released. The values here are from a reimplementation.",
        "After a removal, the other weights of the edge are normalized again, so the supernet's output jumps a little.",
    ),
)

fair_darts = Facts(
    source="Chu, Zhou, Zhang & Li, 2020: Fair DARTS, Eliminating Unfair Advantages in Differentiable Architecture "
    "Search",
    equations="""
mix_ek  = sigmoid(alpha_ek),  alpha = 0 at first
L_alpha = L_held_out - 10 mean (sigmoid(alpha) - 1/2)^2
a node takes its two strongest inputs among those that reach 0.85
""",
    published=(
        "CIFAR-10 2.54 ± 0.05% error over seven cells, about 3.3 M parameters",
        "The results on ImageNet are from another space, which was not released",
    ),
    doubts=(
        "The parameter counts in its README include the auxiliary head of 0.48 M; those of other papers do not.",
        "It is published without none. For a space with none, use diffnas.space.without(space, 'none').",
        "At alpha = 0 the extra loss has no gradient, so the loss on pictures moves alpha first. In a short search few "
        "operations reach 0.85, and a node may have no input.",
    ),
)

single_level_sigmoid = Facts(
    source="Hou & Jin, 2020: Single-level Optimization for Differential Architecture Search",
    equations="""
mix_ek = sigmoid(alpha_ek)
(w, alpha) move together on the gradient of  L_train(w, alpha),  same batch
""",
    published=("NAS-Bench-201, test accuracy: 94.36 CIFAR-10, 73.51 CIFAR-100; this is the best cell of that space",),
    doubts=(
        "We do not know its learning rates and number of epochs; here they are those of DARTS.",
        "Softmax on a single level is reported below two levels. So the gain must come from the sigmoid, the learning "
        "rate or the early end.",
    ),
)
