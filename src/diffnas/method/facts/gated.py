"""Facts of Path-regularized DARTS and its ablations."""

from dataclasses import replace

from diffnas.method.facts.record import Facts

_GATE = "g_ek = clip(-0.1 + 1.2 sigmoid((alpha_ek + ln u - ln(1 - u)) / t), 0, 1)"

path_regularized = Facts(
    source="Zhou, Xiong, Socher & Hoi, 2020: Theory-Inspired Path-Regularized Differential Network Architecture Search",
    equations=f"""
{_GATE}
A_ek = P(g_ek > 0) = sigmoid(alpha_ek + 2.398 t)
u    : uniform, drawn anew in each pass;   t: linear from 1 to 0.1, by epoch
L_alpha = L_held_out + 0.01 mean A(skips) + 0.005 mean A(others)
        - 0.005 product over the chain of  mean A(convolutions of that edge)
""",
    published=("CIFAR-10 2.32% error, CIFAR-100 16.45%, ImageNet 24.1% top-1, 7.3% top-5: one cell, 0.17 GPU-days",),
    doubts=(
        "One cell was released, from one search; its final training picks the best epoch by test accuracy.",
        "At the published strengths, the penalties are hundreds of times weaker than the loss.",
        "At temperatures above about 5, the penalties have no gradient; one released script starts at 10.",
        "The path term in the paper is a product of sums, which can exceed 1. Here it is a product of means.",
    ),
    more="path-regularized.md",
)

path_regularized_released = replace(
    path_regularized,
    equations=f"""
{_GATE}
the two strongest gates of an edge run at weight 1, straight-through;
before that, each gate is lowered by 1 with probability 0.4
skips, pools and the rest are penalized if their mean A is above 0.2
the path term counts only the operations that were drawn
""",
    doubts=(
        "An edge of the chain on which no convolution was drawn drops out of the product, so it is rewarded.",
        "At temperature 0.1, few chosen gates lie between 0 and 1, where they have a gradient.",
        "Here all operations run, and those that were not chosen have weight 0. The clipping of alpha is left out.",
    ),
)

gates = replace(
    path_regularized,
    equations=f"""
{_GATE}
L_alpha = L_held_out
""",
    published=("None for the gates alone",),
    doubts=("Only the loss can shut a gate. The paper says that such cells become dense.",),
)

gates_group = replace(
    gates,
    equations=f"""
{_GATE}
L_alpha = L_held_out + 0.01 mean A(skips) + 0.005 mean A(others)
""",
    doubts=path_regularized.doubts[1:3],
)

gates_path = replace(
    gates,
    equations=f"""
{_GATE}
L_alpha = L_held_out
        - 0.005 product over the chain of  mean A(convolutions of that edge)
""",
    doubts=path_regularized.doubts[1:],
)

gates_single = replace(
    gates,
    source="Not published: the gates of Zhou et al., 2020, on a single level",
    equations=f"""
{_GATE}
(w, alpha) move together on the gradient of  L_train(w, alpha),  same batch
""",
    published=("None",),
)
