"""Facts of the sparse method and its variants."""

from dataclasses import replace

from diffnas.method.facts.record import Facts

sparse = Facts(
    source="Bezirganyan & Akarmazyan, 2022: sparse connections by alpha-entmax",
    equations="""
mix_e = argmax over p on the simplex of  p . alpha_e + sum(p - p^3) / 6
      = sqrt([2 alpha_e - tau]_+),  tau such that the weights sum to 1
(w, alpha) move together on the gradient of  L_train(w, alpha),  same batch
mix_ek = 0: operation k leaves edge e for good
in the end each edge's winner stands, none included
""",
    published=(
        "CIFAR-10 97.58%, CIFAR-100 82.97% accuracy on the DARTS space",
        "97.68% and 81.75% in a setting with the operations of NAS-Bench-201: retrained networks, not the table",
    ),
    doubts=(
        "The paper says neither when removals begin nor whether alpha warms up; at its defaults the first ones fall "
        "in the first epoch, while convolutions are untrained.",
        "No variance, number of seeds or parameter counts are given; its cells may have more inputs than DARTS'.",
        "Its table mixes tabular accuracies with retrained ones, and copies some rows from other methods of one name.",
    ),
    more="sparse.md",
)

entmax2_single = replace(
    sparse,
    equations="""
mix_e = [alpha_e - tau]_+,  tau such that the weights sum to 1
the rest as in sparse
""",
    published=("CIFAR-10 97.42%, CIFAR-100 82.64% accuracy on the DARTS space",),
    doubts=(
        "Removals need a lasting preference at the published rate: noise alone removes nothing.",
        *sparse.doubts[1:],
    ),
)

entmax3 = replace(
    sparse,
    equations="""
mix_e as in sparse;  alpha follows L_held_out, then the weights L_train
""",
    published=("CIFAR-10 97.35%, CIFAR-100 82.57% accuracy on the DARTS space",),
    doubts=(
        "Which order of two-level gradients the paper used is not said; the first here.",
        "The text says that entmax on two levels collapsed, the table that it beats DARTS: presumably without and "
        "with removals.",
    ),
)

entmax2 = replace(
    entmax3,
    equations="""
mix_e as in entmax2-single
alpha follows L_held_out, then the weights L_train
""",
    published=("CIFAR-10 97.24%, CIFAR-100 73.01% accuracy on the DARTS space",),
)

sparse_progressive = replace(
    sparse,
    equations="""
mix_e = entmax(alpha_e; a)
a     : from 1 (softmax) straight to 3 over the first 60% of the run
removals from a = 1.5 on;  the rest as in sparse
""",
    published=("None: future work of the paper",),
    doubts=("How the order should rise is our proposal. Raising it removes operations even if alpha stands still.",),
)

sparse_path = replace(
    sparse,
    source="In neither paper: the sparse method with the path term of Zhou et al., 2020",
    equations="""
L_alpha = L_train - 0.005 product over the chain of  sum of mix_ek
k       : the convolutions of an edge
the rest as in sparse
""",
    published=("None",),
    doubts=("Its weight is that of Path-regularized DARTS, which is weak beside the loss.",),
    more="path-regularized.md",
)
