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

# Every command must end with code 0. The last line printed says whether torch was imported.
RUN = """
import sys
from diffnas.cli import main
assert main(sys.argv[1:]) == 0
print("torch" in sys.modules)
"""


def process(code: str, *arguments: str) -> str:
    """The last line that Python prints when it runs ``code``; empty if it prints nothing."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return "".join(done.stdout.splitlines()[-1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warm-up", type=int, default=1, help="rounds that do not count")
    options = parser.parse_args()
    print(f"# Start-up\n\n{machine()}\n")
    said: dict[str, str] = {}

    def timed(name: str, code: str, arguments: tuple[str, ...] = ()) -> None:
        said[name] = process(code, *arguments)

    programs = {"python itself": ("",), "import torch": ("import torch; print(True)",)}
    programs |= {f"diffnas {' '.join(arguments)}": (RUN, arguments) for arguments in COMMANDS}
    contenders = {name: partial(timed, name, *program) for name, program in programs.items()}
    seconds = interleaved(contenders, rounds=options.rounds, warm_up=options.warm_up)
    print("| process | seconds | imports torch |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        print(f"| {name} | {spread(taken)} | {'yes' if said[name] == 'True' else 'no'} |")
    print(f"\nMedian (least to most) of {options.rounds} rounds, processes in turn within a round.")


if __name__ == "__main__":
    main()
