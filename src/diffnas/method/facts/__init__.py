"""What is known of the published methods: sources, equations, results and doubts, by the name of the method.

Results are those of the papers, or of whoever is named; nothing here was measured by us. "Not checked" marks what we
know from the paper's text alone or from memory of it, "second hand" what others quote.
"""

from diffnas.method.facts import gated, gradients, sparse, supernets, weights
from diffnas.method.facts.record import Facts

__all__ = ["FACTS", "Facts"]

FACTS: dict[str, Facts] = {
    "sparse": sparse.sparse,
    "entmax2-single": sparse.entmax2_single,
    "entmax3": sparse.entmax3,
    "entmax2": sparse.entmax2,
    "sparse-progressive": sparse.sparse_progressive,
    "sparse-path": sparse.sparse_path,
    "darts": gradients.darts,
    "single-level": gradients.single_level,
    "darts-2nd": gradients.darts_2nd,
    "amended": gradients.amended,
    "milenas": gradients.milenas,
    "milenas-2nd": gradients.milenas_2nd,
    "darts-plus": gradients.darts_plus,
    "darts-plus-ranks": gradients.darts_plus_ranks,
    "path-regularized": gated.path_regularized,
    "path-regularized-released": gated.path_regularized_released,
    "gates": gated.gates,
    "gates-group": gated.gates_group,
    "gates-path": gated.gates_path,
    "gates-single": gated.gates_single,
    "gdas": weights.gdas,
    "gdas-released": weights.gdas_released,
    "snas": weights.snas,
    "gaea": weights.gaea,
    "gaea-single": weights.gaea_single,
    "asap": weights.asap,
    "fair-darts": weights.fair_darts,
    "single-level-sigmoid": weights.single_level_sigmoid,
    "darts-minus": supernets.darts_minus,
    "pc-darts": supernets.pc_darts,
    "gaea-pc-darts": supernets.gaea_pc_darts,
    "p-darts": supernets.p_darts,
    "darts-pt": supernets.darts_pt,
    "darts-pt-fixed": supernets.darts_pt_fixed,
    "gold-nas": supernets.gold_nas,
    "prune-and-replace": supernets.prune_and_replace,
    "r-darts": supernets.r_darts,
}
