"""What is known about the published methods: sources, equations, results and doubts, by the name of the method.

Results are those of the papers, or of the authors that are named. We measured none of them. "Not checked" marks what we
know only from the paper's text or from memory, and "second hand" marks what others quote.
"""

from diffnas.method.facts import gated, gradients, sparse, supernets, weights
from diffnas.method.facts.record import Facts
from diffnas.method.named import values_of

__all__ = ["FACTS", "Facts"]

FACTS: dict[str, Facts] = values_of(Facts, (sparse, gradients, gated, weights, supernets))
"""The facts by the name of their method."""
