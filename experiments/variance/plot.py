"""Draw how far the mixing weights of searches with one thing changed are from those of the unchanged one.

python experiments/variance/plot.py --out experiments/variance/variance.svg
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))
from drawing import dots, panels
from run import CHANGES, METHODS

from diffnas.report.compare import read_found
from diffnas.report.compare.changes import distance

TRACES = Path(__file__).with_name("traces")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    with panels(parser.parse_args().out, len(METHODS), (7.2, 2.0), sharex=True, sharey=True) as all_axes:
        for axes, method in zip(all_axes, METHODS, strict=True):
            dots(axes, distances(method), "mixing weights differ by")
            axes.set_title(method)
        # Both panels share this axis, and it must be set after everything is drawn.
        all_axes[0].set_xlim(left=0)


def distances(method: str) -> dict[str, list[float]]:
    """How far each changed search is from the unchanged one, by what was changed."""
    runs = {change: read_found(TRACES / f"{method}-{change}") for change in CHANGES}
    base, found = runs.pop("nothing"), {}
    for change, run in runs.items():
        found.setdefault(change.partition("-")[0], []).append(distance(run, base))
    return found


if __name__ == "__main__":
    main()
