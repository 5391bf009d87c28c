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
at the end each edge keeps its winner, which may be none
""",
    published=(
        "CIFAR-10 97.58%, CIFAR-100 82.97% accuracy on the DARTS space",
        "97.68% and 81.75% with the operations of NAS-Bench-201, from retrained networks, not from the benchmark",
    ),
    doubts=(
        "The paper does not say when removals begin, or whether alpha warms up. With its defaults, the first removals "
        "are in the first epoch, when convolutions are untrained.",
        "It gives no variance, number of seeds or parameter counts. Its cells may have more inputs than DARTS' cells.",
        "Its table mixes the benchmark's accuracies with retrained ones, and copies some rows from other methods with "
        "the same name.",
    ),
    more="sparse.md",
)

entmax2_single = replace(
    sparse,
    equations="""
mix_e = [alpha_e - tau]_+,  tau such that the weights sum to 1
all else as in sparse
""",
    published=("CIFAR-10 97.42%, CIFAR-100 82.64% accuracy on the DARTS space",),
    doubts=(
        "At the published learning rate, only a lasting preference removes an operation; noise alone removes none.",
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
        "The paper does not say whether its two-level gradients are of first or second order. Here they are of first "
        "order.",
        "The text says that entmax on two levels collapsed, but in the table it is better than DARTS. Presumably the "
        "text is about a search without removals.",
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
a     : linear from 1 (softmax) to 3 over the first 60% of the run
removals once a reaches 1.5;  all else as in sparse
""",
    published=("None; the paper names it as future work",),
    doubts=("We chose how the order rises. Its rise removes operations even if alpha stands still.",),
)

sparse_path = replace(
    sparse,
    source="Not published: the sparse method with the path term of Zhou et al., 2020",
    equations="""
L_alpha = L_train - 0.005 product over the chain of  sum of mix_ek
k       : the convolutions of an edge
all else as in sparse
""",
    published=("None",),
    doubts=("The factor 0.005 is that of Path-regularized DARTS; the term is weak beside the loss.",),
    more="path-regularized.md",
)
