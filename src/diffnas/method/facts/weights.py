"""Facts of methods that weigh operations in another way."""

from dataclasses import replace

from diffnas.method.facts.record import Facts

gdas = Facts(
    source="Dong & Yang, 2019: Searching for a Robust Neural Architecture in Four GPU Hours",
    equations="""
soft_e = softmax((log softmax(alpha_e) + G_e) / t)
mix_e  = one_hot(argmax soft_e) + soft_e - stop(soft_e)
G      : Gumbel noise, drawn anew in every pass
t      : from 10 to 0.1, a step an epoch
""",
    published=(
        "NAS-Bench-201, test accuracy: 93.61 ± 0.09 CIFAR-10, 70.70 ± 0.30 CIFAR-100, 41.71 ± 0.98 ImageNet16-120",
        "DARTS space: the cell GDAS_V1, 3.37 M parameters",
    ),
    doubts=(
        "The published numbers are those of the released code, which has another gradient: gdas-released.",
        "All operations run here, so a search is not faster than one of DARTS.",
    ),
)

gdas_released = replace(
    gdas,
    equations="""
mix_e as in gdas;  d(e) = argmax soft_e
edge e = mix_e,d(e) op_d(e)(x)  +  sum over the others k of  mix_ek
so, with dL/dy the gradient for what edge e passes on:
dL / d mix_ek = sum over pixels of  dL/dy            for the others
dL / d mix_ek = sum over pixels of  dL/dy  op_k(x)   for the one drawn
""",
    doubts=(
        "The gradient of an operation that was not drawn says nothing of what it would have computed: all the others "
        "of an edge get the same one.",
        "Operations that were not drawn keep their weights, momentum and batch norms as they are; in gdas decay and "
        "momentum move the weights on. Of the weights that is true of the released code from torch 2.0 on only, where "
        "no gradient is left of an earlier step; before, a gradient of zeros was, and they moved on as in gdas.",
    ),
)

snas = Facts(
    source="Xie, Zheng, Liu & Lin, 2019: SNAS, Stochastic Neural Architecture Search",
    equations="""
mix_e = softmax((alpha_e + G_e) / T)     a draw from the concrete distribution
G     : Gumbel noise, anew in every pass; one draw for all cells of a kind
T     : from 1 to 0.03, a step an epoch
(w, alpha) move together on the gradient of
L     = L_train(w, mix) + lambda sum over edges of  ln E_e
E_e   = sum over k of  softmax(alpha_e)_k MACs_ek     (paper: E_e itself)
in the end each edge's winner by alpha stands, none included
""",
    published=(
        "CIFAR-10 error: 2.98% under the mild constraint with 2.9 M parameters, 2.85 ± 0.02% under the moderate one "
        "with 2.8 M, 3.10 ± 0.04% under the aggressive one with 2.3 M; 1.5 GPU-days (not checked but for the first)",
        "ImageNet 27.3% top-1, 9.2% top-5, 4.3 M parameters, 522 M multiply-adds (not checked)",
        "DARTS space: the cells SNAS_mild, 2.66 M parameters as built here, and SNAS_moderate, 2.85 M",
    ),
    doubts=(
        "The strengths of the three constraints are not published. The released commands have lambda 0.01 for a search "
        "with 8 cells and 0.0015 with 20. To call these moderate and mild, and 0.05 aggressive, is our choice.",
        "The released code averages the logarithms of parameters, multiply-adds and memory accesses, of each cell, and "
        "counts pools; here multiply-adds alone, where pools, skips and none cost nothing, over all cells of a kind.",
        "It takes the cost of the draw or, by --method discrete, the expected one, whose gradient is not noisy: here.",
        "It lets alpha begin around 1, which softmax does not see, but its weight decay; around 0 here. Adam moves it "
        "in runs on several GPUs, as here, plain gradients of rate 3e-4 on one. Its drop path of 0.3 in the search is "
        "not here.",
        "Its temperature is an epoch ahead at first, 0.9935, and 0.03 in the last epoch as well.",
    ),
)

gaea = Facts(
    source="Li, Khodak, Balcan & Talwalkar, 2021: Geometry-Aware Gradient Algorithms for Neural Architecture Search",
    equations="""
theta_e on the simplex, uniform at first; mix_e = theta_e
u       = theta_e exp(-lr grad_theta L_held_out),   u = max(u, 1e-5)
theta_e = u / sum(u)                 lr = 0.1, constant, no momentum
""",
    published=(
        "NAS-Bench-201, bilevel, test accuracy: 91.87 CIFAR-10, 71.87 CIFAR-100, 45.69 ImageNet16-120 (not checked)",
        "CIFAR-10 2.50 ± 0.06% error with partial channels (not checked)",
    ),
    doubts=(
        "The published searches of NAS-Bench-201 have 24 channels and no none, and end after 25 of 50 epochs: "
        "--stopping after:25 --channels 24.",
        "One of the two released updates clamps before it normalizes, the other after; the first here.",
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
        "The released code moves theta on a batch of its own, drawn from all training pictures, before the weights; "
        "here both follow the same batch.",
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
end when every edge has one operation left
""",
    published=("CIFAR-10 1.68% error, 0.2 GPU-days",),
    doubts=(
        "The 1.68% belong to a larger and heavily augmented network, so they do not compare with DARTS' recipe.",
        "No code of the search was released; the values are those of a reimplementation.",
        "After a removal the rest of the edge is weighed anew, so the network's output jumps a little.",
    ),
)

fair_darts = Facts(
    source="Chu, Zhou, Zhang & Li, 2020: Fair DARTS, Eliminating Unfair Advantages in Differentiable Architecture "
    "Search",
    equations="""
mix_ek  = sigmoid(alpha_ek),  alpha = 0 at first
L_alpha = L_held_out - 10 mean (sigmoid(alpha) - 1/2)^2
a node takes its two strongest inputs, and of these what reaches 0.85
""",
    published=(
        "CIFAR-10 2.54 ± 0.05% error over seven cells, about 3.3 M parameters",
        "ImageNet numbers belong to another space, which was not released",
    ),
    doubts=(
        "The parameter counts of its README include the auxiliary head of 0.48 M, unlike everyone else's.",
        "Published without none; on a space that has it, use diffnas.space.without(space, 'none').",
        "At alpha = 0 the extra loss has no gradient: the pictures break the tie. In a short search few operations "
        "reach 0.85, and a node may stay without input.",
    ),
)

single_level_sigmoid = Facts(
    source="Hou & Jin, 2020: Single-level Optimization for Differential Architecture Search",
    equations="""
mix_ek = sigmoid(alpha_ek)
(w, alpha) move together on the gradient of  L_train(w, alpha),  same batch
""",
    published=("NAS-Bench-201, test accuracy: 94.36 CIFAR-10, 73.51 CIFAR-100: the best cell of the space there",),
    doubts=(
        "Learning rates and the number of epochs are not known to us; DARTS' here.",
        "A softmax on a single level was reported below two levels, so the gain would have to come from the sigmoid, "
        "the rate or the early end.",
    ),
)
