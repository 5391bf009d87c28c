"""Entmax of several orders: the weight of one of two operations, against the difference of their alphas.

Order 1 is softmax, which never reaches 0 or 1; the higher the order, the wider the range in which one operation has
all the weight (the sparse-connections paper's figure 5; Peters et al., 2019, figure 3).

python experiments/figures/entmax_curves.py --out experiments/figures/plots
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from diffnas.components.entmax import entmax
from diffnas.report.plots import drawing, save

ORDERS = (1.0, 1.25, 1.5, 2.0, 3.0)
COLORS = ("#8b9099", "#1595dd", "#1c4fc4", "#d67008", "#8f2500")


def curve(order: float, differences: torch.Tensor) -> torch.Tensor:
    """The weight of the first of two operations, at each difference of their alphas."""
    alpha = torch.stack([differences, torch.zeros_like(differences)], dim=-1)
    return entmax(alpha, torch.ones_like(alpha, dtype=torch.bool), order)[:, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path())
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    differences = torch.linspace(-3, 3, 601, dtype=torch.float64)
    with drawing():
        figure = Figure(figsize=(4.4, 3), layout="constrained")
        axes = figure.subplots()
        for order, color in zip(ORDERS, COLORS, strict=True):
            label = "order 1: softmax" if order == 1 else "order 2: sparsemax" if order == 2 else f"order {order:g}"
            axes.plot(differences, curve(order, differences), color=color, label=label)
        axes.set(xlabel="difference of alpha", ylabel="weight of the first operation")
        axes.legend()
        for path in save(figure, out / "entmax"):
            print(path)


if __name__ == "__main__":
    main()
