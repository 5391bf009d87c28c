"""Facts of methods that change the supernet, or search in several stages."""

from dataclasses import replace

from diffnas.method.facts.record import Facts
from diffnas.method.facts.weights import gaea

darts_minus = Facts(
    source="Chu, Wang, Zhang, Lu, Wei & Yan, 2021: DARTS-, Robustly Stepping out of Performance Collapse Without "
    "Indicators",
    equations="""
edge e = sum over k of  softmax(alpha_e)_k op_k(x)  +  beta skip(x)
beta   : linear from 1 towards 0, by epoch
the cell that is read off has no such skip
""",
    published=(
        "CIFAR-10 2.59 ± 0.08% error with 3.5 ± 0.13 M parameters; CIFAR-100 17.51% at best",
        "NAS-Bench-201, test accuracy: 93.80 ± 0.40 CIFAR-10, 71.53 ± 1.51 CIFAR-100, 45.12 ± 0.82 ImageNet16-120",
    ),
    doubts=(
        "No code was released for NAS-Bench-201. A skip beside each of its six edges is our choice.",
        "Two sets of its released cells (S2 and S3 on CIFAR-10) are identical, so one is probably a copy.",
        "Its results on ImageNet are from another space.",
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
        "The paper draws the channels at random. Its code always takes the first ones, and relies on the shuffle.",
        "Its authors say that smaller batches need lower learning rates, or skips take over.",
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
        "None of its cells was released.",
        "Unlike PC-DARTS, it has no warm-up. Its result is from the epoch that was best on held-out pictures.",
    ),
)

p_darts = Facts(
    source="Chen, Xie, Wu & Tian, 2019: Progressive DARTS, Bridging the Depth Gap between Search and Evaluation",
    equations="""
three searches, each with new weights and alpha:
5, 11, 17 cells;  8, 5, 3 operations on each edge
between them, each edge loses its operations with the least softmax(alpha_e)
dropout on skips:  p0 (24 - epoch) / 25  for the first 10 of 25 epochs,
                   then  p0 exp(-0.2 (epoch - 10));   p0 = 0, 0.4, 0.7
alpha stands still in the first 10 epochs of each;  at most 2 skips at the end
""",
    published=(
        "CIFAR-10 2.50% error with 3.4 M parameters, CIFAR-100 16.55% with that cell; 15.92% searched there; 0.3 "
        "GPU-days",
        "ImageNet 24.4% top-1, 7.4% top-5, 4.9 M parameters, 557 M multiply-adds",
    ),
    doubts=(
        "The rule itself sets the two skips. Its authors chose the number because they knew the result.",
        "The released cell PDARTS and the cell in the paper's figure are from different runs.",
        "The released command needs sizes and dropout for each stage; else dropout silently becomes 0.",
    ),
)

darts_pt = Facts(
    source="Wang, Cheng, Chen, Tang & Hsieh, 2021: Rethinking Architecture Selection in Differentiable NAS",
    equations="""
A(W) = accuracy of the supernet on the held-out half under the weights W
for each edge, in random order:
k* = argmin over k of  A(W with W_ek = 0);   W_e = one_hot(k*)
then for each node: measure A without each of its edges, all others in place,
and remove those without which A is highest, until two are left
between two decisions, the supernet trains for 5 epochs at a tenth of the rate
""",
    published=(
        "CIFAR-10 2.61 ± 0.08% error with 3.0 M parameters, best 2.48%; 0.8 GPU-days",
        "NAS-Bench-201, CIFAR-10 test error: 11.89%, where reading off as in DARTS gives 45.7%",
        "S1 to S4, CIFAR-10 error: 3.50, 2.79, 2.49, 2.64%, where DARTS has 3.84, 4.85, 3.34, 7.20%",
    ),
    doubts=(
        "The released code scores operations with batch statistics and on augmented pictures; the paper does not say "
        "so.",
        "After each removal, the released code measures the edges of a node again, but with the removed ones back in "
        "place. Only the batches differ, so here each edge is measured once.",
        "The released code makes a cosine for the learning rate of the tuning epochs, but never steps it. The rate "
        "stays at 0.0025.",
        "If alpha is never trained, the published errors are often even lower.",
    ),
)

darts_pt_fixed = replace(
    darts_pt,
    equations="""
W uniform: alpha never moves, and only the network's weights are trained
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
r_ek  = sigmoid(alpha_ek) / sum of the same over all operations into the node
L     = L_train + lambda sum over live ops of  ln(1 + N r_ek) (1 + mu MACs_k)
N     : how many operations lead into the node
each epoch: operations with r <= 0.01 leave, then up to 4 with the smallest
            r <= 0.05
then  : if 4 or more operations left, delta = 1e-5 and lambda halves
        else delta doubles and lambda grows by delta
""",
    published=("CIFAR-10 97.23% accuracy, quoted by Bezirganyan & Akarmazyan, 2022; we could not check the rest",),
    doubts=(
        "We know it from code by others than its authors. That code prunes by adding -1e4 to alpha; here there is a "
        "mask.",
        "Alpha's learning rate is 1, and lambda's steps double. So the timing depends on the batch and on the length "
        "of the search.",
        "Its authors say that one level needs strong augmentation if there are few pictures.",
    ),
    tabular=False,
)

prune_and_replace = Facts(
    source="Laube & Zell, 2019: Prune and Replace NAS",
    equations="""
9 cycles of training with 4, 6, 6, 6, 6, 6, 4, 3, 2 operations on each edge
after each, those with the least softmax(alpha_e) leave, but never the best
convolution;  after each of the first five, 3 stay and 3 changed copies enter:
parent : a survivor, drawn with a probability in proportion to its weight
change : kernel + 2 or - 2, dilation + 1 or - 1, one more layer, a wider
         layer inside;  all possible changes are equally likely
weights: the parent's, kernels padded with zeros or cut around the middle
alpha is drawn anew in each cycle, and stands still for the first third of it
""",
    published=(
        "CIFAR-10, CIFAR-100 error: DL1 2.74, 17.37% with 3.2 M parameters; DL2 2.51, 15.53% with 4.0 M; 0.82 GPU-days",
        "DR 2.55, 16.69% with 4.2 M; UR 3.79% with 5.4 M",
    ),
    doubts=(
        "Two runs of the same method, DL1 and DL2, differ by 0.23 points.",
        "Each ranking comes from 7 to 10 epochs of alpha, so it is noisy.",
        "The published batch grows with the free memory, so runs depend on the machine. Here the batch is that of "
        "DARTS.",
        "On other spaces the method is ours: the first pool is all that an edge offers. Only an operation that left it "
        "can enter again, as a change of a survivor. On NAS-Bench-201, that is one of two convolutions.",
        "Its third space, UR, stacks any number of layers. No fixed set of operations can hold it, so it is not here.",
        "A search of fewer than 9 epochs leaves out the first cycles; with 4 or fewer, nothing is replaced.",
        "The forecast of a search's cost is for its first pool. Later pools have more operations, and larger ones.",
    ),
)

r_darts = Facts(
    source="Zela, Elsken, Saikia, Marrakchi, Brox & Hutter, 2020: Understanding and Robustifying Differentiable "
    "Architecture Search",
    equations="""
ev    = the largest eigenvalue of the Hessian of L_held_out with respect to
        alpha, on one batch, every 2 epochs
mean  = the average of ev over 5 measurements around an epoch
stop once  mean(now) / mean(4 measurements ago) > 1.3
and take the cells of that earlier epoch
""",
    published=("DARTS with this stop is better than DARTS in all 12 settings, S1 to S4 on three data sets",),
    doubts=(
        "DARTS- reports good cells while eigenvalues grow.",
        "One batch is noisy. The Hessian depends on the weighting, so it cannot compare methods.",
    ),
)
