"""Look the cells of finished searches up in a table of NAS-Bench-201, and print Markdown.

    python experiments/nas-bench-201/table.py --runs runs/nas-bench-201 --table nats-bench-tss-cifar10.csv

This prints the columns of ``diffnas compare --table`` and three more: the cell in digits, the weight that an edge loses
when one operation is read off, and the result if cells are read off without ``none``. The table is any that ``diffnas
lookup`` takes, with the column ``cifar10_test_200``. It is read only here, after all searches are done.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))
from common import discarded, short, without_none

from diffnas import tables
from diffnas.api.compare import compared
from diffnas.report.compare import Column, group_grid, run_grid, to_markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    options = parser.parse_args()
    table = tables.load(options.table)
    groups = compared([options.runs], table, "cifar10_test_200")
    otherwise = Column(
        "without none", lambda run: table.lookup(without_none(run), "cifar10_test_200").accuracy, "{:.2f}".format
    )
    in_digits = Column("cell", lambda run: short(run.genotype), str)
    other_cell = Column("cell without none", lambda run: short(without_none(run)), str)
    weight = Column("weight discarded", discarded, "{:.2f}".format)
    each = [in_digits, "benchmark", "rank", other_cell, otherwise, "live", weight, "first", "last", "seconds"]
    print(to_markdown(run_grid(groups, each)))
    print()
    print(to_markdown(group_grid(groups, ["benchmark", otherwise])))


if __name__ == "__main__":
    main()
