"""The commands of docs/scaling.md, as they are typed, with fewer pictures and seeds."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from diffnas.cli import main

PAGE = Path(__file__).parents[2] / "docs/scaling.md"
SMALL = ["--train=60", "--epochs=1", "--evaluate-epochs=1", "--set=search.channels=4", "--set=evaluate.channels=4"]
SMALL += ["--set=search.depth=3", "--set=evaluate.depth=3"]
# What no test has: CIFAR, two seeds more than are needed to compare, and a cluster that is there already.
SHORTER = {"cifar10 --data-dir data": "digits", "darts-small": "digits", "0:5": "0:3", "/shared/": ""}
SHORTER |= {"s3://BUCKET": "file://copies"}
SHORTER |= {"--address auto": "--address local", "--gpus-per-run 0.5": "--cpus-per-run 1", "sparse,darts": "sparse"}


def commands() -> list[str]:
    """The lines of the page that call diffnas and end by themselves."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("diffnas ") and not line.startswith("diffnas watch")]


@pytest.mark.slow
def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with_ray = importlib.util.find_spec("ray") is not None
    for line in commands():
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        words = shlex.split(line)[1:]
        if "--address" in words and not with_ray:
            continue
        if words[0] == "sweep" and "--resume" not in words:
            words += [*SMALL, *([] if "--spaces" in words else ["--spaces=nas-bench-201"])]
        if words[0] == "compare" and "slurm" in line:
            assert main(["sweep", "--resume", "runs/slurm", "--quiet"]) == 0  # the other jobs of the array
        if words[0] == "evaluate":
            words += ["--epochs=1", "--channels=4", "--depth=3", "--set=auxiliary=0"]
        assert main(words) == 0, line
