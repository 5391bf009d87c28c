"""Facts of DARTS, and of methods that change its gradients or end it earlier."""

from dataclasses import replace

from diffnas.method.facts.record import Facts

_DARTS = "Liu, Simonyan & Yang, 2019: DARTS, Differentiable Architecture Search"

_COLLAPSE = (
    "Long searches tend to collapse: skip connections win because they help the supernet train, and on NAS-Bench-201 "
    "the published runs all end with the cell of skips alone."
)

_KINKS = (
    "At the published radius, 0.01, the differences cross kinks of ReLUs and pools, so they are not derivatives. On "
    "our tiny nets, in float64, "
)

darts = Facts(
    source=_DARTS,
    equations="""
mix_e = softmax(alpha_e)          over the operations of edge e, also none
node  = sum over edges e into it of  sum over k of  mix_ek op_k(source)
alpha : Adam on  L_held_out(w, alpha)          then
w     : SGD on   L_train(w, alpha)
""",
    published=(
        "CIFAR-10 3.00 ± 0.14% error with 3.3 M parameters",
        "CIFAR-100 17.76% (cell retrained by P-DARTS)",
        "NAS-Bench-201, test accuracy: 54.30 CIFAR-10, 15.61 CIFAR-100, 16.32 ImageNet16-120, each run the same cell",
    ),
    doubts=(
        _COLLAPSE,
        "On NAS-Bench-201, the released code moves the weights first and alpha second (level weights-first), with "
        "Nesterov momentum and weight decay 5e-4. The recipe nas-bench-201 does the same.",
        "The paper searches from several seeds, and keeps the cell that is best after a short training. Here, a search "
        "is one of these.",
    ),
)

single_level = Facts(
    source=f"{_DARTS}, appendix; the single-level baseline of many later papers",
    equations="""
mix_e = softmax(alpha_e)
(w, alpha) : SGD and Adam on one gradient of  L_train(w, alpha),  same batch
""",
    published=("CIFAR-10 95.99%, CIFAR-100 79.80% accuracy (as run by Bezirganyan & Akarmazyan, 2022)",),
    doubts=(
        "It is reported below DARTS on the DARTS space, and far above it on NAS-Bench-201. Its value depends on the "
        "space, the length of the search and the augmentation.",
    ),
)

darts_2nd = Facts(
    source=_DARTS,
    equations="""
w'      = w - xi (momentum v + grad_w L_train(w, alpha) + decay w)
g_alpha = grad_alpha L_held_out(w', alpha)
        - xi / (2 eps) [grad_alpha L_train(w+) - grad_alpha L_train(w-)]
w+-     = w +- eps d,   d = grad_w' L_held_out(w', alpha),   eps = 0.01 / |d|
xi      : the learning rate of the weights;  v: the present momentum
""",
    published=(
        "CIFAR-10 2.76 ± 0.09% error with 3.3 M parameters",
        "CIFAR-100 17.54% (cell retrained by P-DARTS)",
        "ImageNet 26.7% top-1, 8.7% top-5, 4.7 M parameters, 574 M multiply-adds",
        "NAS-Bench-201: the same cell of skips as in first order",
    ),
    doubts=(
        _COLLAPSE,
        f"{_KINKS}alpha's gradient missed the exact one by 0.3 to 1.4 of its length in 16 cases. In 7 of them it was "
        "nearer than the first order. At a radius of 1e-6, it missed by less than 1e-9 in 14 of the 16.",
        "In the released code, three passes over the training batch move the running statistics of batch norm. Here, "
        "the look-ahead moves none.",
        "The released DARTS_V2 is a cell from a new search after the paper.",
    ),
)

amended = Facts(
    source="Bi, Hu, Xie, Chen, Wei & Tian, 2019: Stabilizing DARTS with Amended Gradient Estimation",
    equations="""
d         = grad_w L_held_out
exact:    g = grad_alpha L_held_out - H_alpha,w  inverse(H_w,w)  d
amended:  g = grad_alpha L_held_out - rate  H_alpha,w  (H_w,w  d)
H: second derivatives of L_train; products by central differences, radius 0.01
""",
    published=("Stable in long searches on CIFAR-10 and ImageNet; we could not check the numbers",),
    doubts=(
        "The paper claims that the second term never points against the exact one. For arbitrary matrices this is "
        "false: H_w,w = diag(1, 100), H_alpha,w = (1, 1) and gradient (1, -1) give -0.99 and 99.",
        f"{_KINKS}the gradient missed the one with exact products by 1.3 to 66 times its length in 16 cases. At a "
        "radius of 1e-6, it missed by less than 1e-8 in 12 of them.",
        "The matrix replaces its inverse, so the right rate depends on the scale of the loss.",
        "The method also has the same depth, width and regularization in the search and the final training.",
    ),
)

milenas = Facts(
    source="He, Ye, Shen & Zhang, 2020: MiLeNAS, Efficient NAS via Mixed-Level Reformulation",
    equations="""
g_alpha = grad_alpha L_held_out(w, alpha) + grad_alpha L_train(w, alpha)  then
w       : SGD on L_train(w, alpha), the same batch
""",
    published=(
        "CIFAR-10 2.51 ± 0.11% error with 3.87 M parameters, best 2.34%; 2.80 ± 0.04% with 2.87 M; 2.76 ± 0.11% "
        "with 2.09 M (not checked)",
    ),
    doubts=(
        "The paper's factor multiplies the held-out loss, and the code's the training loss. Both are 1, so they agree.",
        "The released code passes alpha to the clipping of the weights' gradients, so these are never clipped.",
        "Some released cells were found before a bug was fixed, and others after it.",
    ),
)

milenas_2nd = replace(
    milenas,
    equations="""
w'      = w - xi (momentum v + grad_w L_train(w, alpha) + decay w)
both    = L_held_out + L_train, at (w', alpha)
g_alpha = grad_alpha both  -  xi  d2 L_train / (d alpha d w)  grad_w' both
""",
    doubts=(
        f"{_KINKS}the gradient of darts-2nd, which has the same product, missed the exact one by 0.3 to 1.4 of its "
        "length. We did not measure it for both losses.",
        "The released look-ahead counts alpha among the weights, so it moves alpha and loses the momentum.",
    ),
)

darts_plus = Facts(
    source="Liang, Zhang, Sun, He, Huang, Zhuang & Li, 2019: DARTS+, Improved DARTS with Early Stopping",
    equations="""
stop as soon as the normal cell that would be read off has 2 or more skips
""",
    published=(
        "CIFAR-10 2.32% error, CIFAR-100 14.87%, ImageNet 23.7% top-1; the abstract does not say by which criterion",
    ),
    doubts=(
        "The criterion itself sets the number of skips in the result.",
        "The paper does not say whether the result is the cell at the stop or the last one before. Here it is the "
        "latter.",
        "The published runs have other spaces and lengths of search. We know of no released code.",
    ),
)

darts_plus_ranks = replace(
    darts_plus,
    equations="""
stop once the strongest operation with weights has been the same for 10 epochs
on each edge of the normal cell
""",
    doubts=(
        "Reports differ: all edges must be stable, or any one (stable-ranks-any). The first place counts, or the full "
        "order (stable-ranks-full).",
        "The result depends on the number of epochs and on the noise of alpha. A search of at most 10 epochs is DARTS.",
    ),
)
