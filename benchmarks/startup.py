"""Time the command line's light commands, from a fresh process to its end, and say which of them import torch.

python benchmarks/startup.py --rounds 9
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial

from common import interleaved, machine, spread

COMMANDS = (("--help",), ("--version",), ("search", "--help"), ("spaces",), ("methods",), ("data",))

# Exit code 0 in any case; what is printed last says whether torch was imported.
RUN = """
import sys
from diffnas.cli import main
assert main(sys.argv[1:]) == 0
print("torch" in sys.modules)
"""


def run(arguments: tuple[str, ...]) -> bool:
    """Whether ``diffnas`` with these arguments imported torch."""
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1] == "True"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"# Start-up\n\n{machine()}\n")
    bare = {"python itself": partial(subprocess.run, [sys.executable, "-c", ""], check=True)}
    torch_alone = {"import torch": partial(subprocess.run, [sys.executable, "-c", "import torch"], check=True)}
    ours = {f"diffnas {' '.join(arguments)}": partial(run, arguments) for arguments in COMMANDS}
    seconds = interleaved({**bare, **torch_alone, **ours}, rounds=options.rounds)
    imports = ["no", "yes", *("yes" if run(arguments) else "no" for arguments in COMMANDS)]
    print("| process | seconds | imports torch |\n| --- | --- | --- |")
    for (name, taken), imported in zip(seconds.items(), imports, strict=True):
        print(f"| {name} | {spread(taken)} | {imported} |")
    print(f"\nMedian (least to most) of {options.rounds} rounds, processes in turn within a round.")


if __name__ == "__main__":
    main()
