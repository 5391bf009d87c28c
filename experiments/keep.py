"""Keep of finished runs what comparisons and plots need: the record, the cells, the trace, and what judged them.

    python experiments/keep.py RUNS --out TRACES

RUNS is a folder of run folders. A trace of a search is kept without alpha, and its numbers have four digits, so that it
takes a few kilobytes; of a training only record and result are kept. A cell of NAS-Bench-201 is written as its
architecture string too, as it was read off, and without ``none``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from common import begun, finished, tested, trace

from diffnas.genotype import is_nas_bench_201, to_text
from diffnas.report.compare import read_found

WHOLE = (
    "run.json",
    "genotype.json",
    "landing.json",
    "held-out.json",
    "result.json",
    "evaluation/run.json",
    "evaluation/result.json",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--alpha", action="store_true", help="keep alpha, too")
    parser.add_argument("--unfinished", action="store_true", help="keep searches that have not ended, too")
    options = parser.parse_args()
    trainings = tested(options.runs)
    known = begun(options.runs) if options.unfinished else finished(options.runs)
    searches = [run for run in known if run not in trainings]
    for run in [*trainings, *searches]:
        keep_records(run, options.out / run.name)
    for run in searches:
        keep_search(run, options.out / run.name, alpha=options.alpha)


def keep_records(run: Path, out: Path) -> None:
    """Write the small files of a run."""
    for name in WHOLE:
        if (run / name).exists():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(compact(json.loads((run / name).read_text())))


def keep_search(run: Path, out: Path, *, alpha: bool) -> None:
    """Write the trace of a search, and its cell as a string."""
    lines = trace(run)
    for line in lines:
        line.pop("start", None)
        if not alpha:
            line.pop("alpha", None)
    (out / "trace.jsonl").write_text("".join(compact(rounded(line)) for line in lines))
    found = read_found(run)
    if is_nas_bench_201(found.genotype) and found.without_none:
        cells = {"cell": to_text(found.genotype), "without_none": to_text(found.without_none)}
        (out / "architecture.json").write_text(json.dumps(cells, indent=2) + "\n")


def compact(value: Any) -> str:
    """JSON on one line."""
    return json.dumps(value, separators=(",", ":")) + "\n"


def rounded(value: Any) -> Any:
    """A JSON value whose numbers have at most four digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
