"""The normal cell that a deep supernet gives (the sparse-connections paper's figure 4: nothing but skips).

Draws the cell that DARTS' rule reads off after the last epoch, which ignores ``none``, and says how many skips it has.

python experiments/figures/collapsed.py RUN --out experiments/figures/plots/deep
"""

import argparse
from pathlib import Path

from diffnas.genotype import Genotype
from diffnas.report.draw import draw
from diffnas.report.findings import findings
from diffnas.report.reading import read_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a search")
    parser.add_argument("--out", type=Path, default=Path("collapsed"), help="the figure's name without an ending")
    asked = parser.parse_args()
    search = read_run(asked.run).search
    if search is None or not search.genotypes:
        parser.error(f"{asked.run} has no search with an epoch that is over")
    found: Genotype = search.genotypes[-1]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".svg", ".png"):
        for path in draw(found, asked.out.with_suffix(suffix)):
            print(path)
    for cell_kind, cell in found.cells.items():
        print(f"{cell_kind} cell: {cell.count('skip_connect')} of {len(cell.connections)} connections are skips")
    for finding in findings(search):
        print(f"{finding.mark}: {finding.text}")


if __name__ == "__main__":
    main()
