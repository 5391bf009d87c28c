"""Genotypes: the discrete result of a search, and the only thing that an evaluation takes from it. No torch."""

from diffnas.genotype.file import load, read, save
from diffnas.genotype.handmade import HANDMADE, Handmade, handmade
from diffnas.genotype.json_form import from_json, to_json
from diffnas.genotype.nas_bench_201 import canonical, is_nas_bench_201, to_nas_bench_201
from diffnas.genotype.published import PUBLISHED, Published, published
from diffnas.genotype.record import Cell, Connection, Genotype
from diffnas.genotype.text import parse, to_text

__all__ = [
    "HANDMADE",
    "PUBLISHED",
    "Cell",
    "Connection",
    "Genotype",
    "Handmade",
    "Published",
    "canonical",
    "from_json",
    "handmade",
    "is_nas_bench_201",
    "load",
    "parse",
    "published",
    "read",
    "save",
    "to_json",
    "to_nas_bench_201",
    "to_text",
]
