"""The roles of a method that components fill, as plain data: they can be listed without torch."""

from __future__ import annotations

from diffnas.values import Help

PARTS = "Components, in place of the method's own"

ROLES = {
    "weighting": Help(text="Such as entmax:2, softmax or gates.", part=PARTS, common=True),
    "level": Help(text="single, bilevel, unrolled, mixed:0.5, ...", part=PARTS, common=True),
    "update": Help(text="adam, sgd or exponentiated.", part=PARTS),
    "regularizers": Help(text="none, or several: groups:0.2:0.1,path:0.1", part=PARTS),
    "edges": Help(text="Strengths of edges: softmax, simplex, ... or none.", part=PARTS),
    "supernet": Help(text="none, or several: partial-channels:4,auxiliary-skip,...", part=PARTS),
    "pruning": Help(text="exact-zero, threshold:0.4, ... or none.", part=PARTS, common=True),
    "stopping": Help(text="skip-count:2, size:1e6, ... or none.", part=PARTS),
    "stages": Help(text="one, progressive:5:3 or perturbation:5.", part=PARTS),
    "pick": Help(text="Whose cells count: last, best-held-out, ...", part=PARTS),
    "family": Help(text="Which cells on the way are kept too: quiet:3 or none.", part=PARTS),
    "discretize": Help(text="winners, strongest-pairs, ...", part=PARTS),
}
"""What may stand in each role of ``COMPONENTS``, a line each."""
