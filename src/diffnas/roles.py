"""The roles of a method that components fill, as plain data: they can be listed without torch."""

ROLES = {
    "weighting": "entmax:2, softmax, gates, ...",
    "level": "single, bilevel, unrolled, mixed:0.5, ...",
    "update": "adam, sgd or exponentiated.",
    "regularizers": "none, or several: groups:0.2:0.1,path:0.1",
    "edges": "Strengths of edges: softmax, simplex, ... or none.",
    "supernet": "none, or several: partial-channels:4,auxiliary-skip,...",
    "pruning": "exact-zero, threshold:0.4, ... or none.",
    "stopping": "skip-count:2, size:1e6, ... or none.",
    "stages": "one, progressive:5:3 or perturbation:5.",
    "pick": "Which epoch's cells are the result: last, best-held-out, ...",
    "family": "Which earlier epochs' cells are kept too: quiet:3 or none.",
    "discretize": "winners, strongest-pairs, ...",
    "initial": "torch, he, orthogonal, lsuv, run:RUN, ...",
    "pretext": "rotation, barlow, simclr, ... or none.",
}
"""Examples of texts for each role of ``COMPONENTS``, in one line each."""
