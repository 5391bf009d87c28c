"""Write the networks that ``run.py`` trained in 8 bits, and print how they compare with float32, in Markdown.

python experiments/small-networks/int8.py --data-dir DATA --runs runs/small --networks found mobilenet
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from run import TARGETS

import diffnas
from diffnas.data import load, subsample
from diffnas.deploy.int8 import CALIBRATION, write_int8

HEADER = """\
| target | network, seed | accuracy, float32 | 8 bits | file, float32 | 8 bits | a picture, float32 | 8 bits |
|--:|---|--:|--:|--:|--:|--:|--:|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["found"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options = parser.parse_args()
    data = load("cifar10", data_dir=options.data_dir)
    calibration = subsample(data, CALIBRATION, None).train.images
    print(HEADER)
    for target in TARGETS:
        for name in options.networks:
            for seed in options.seeds:
                trained = diffnas.load(options.runs / f"{name}-{target}-seed{seed}")
                with TemporaryDirectory() as folder:
                    made = write_int8(
                        trained, calibration, Path(folder) / "int8.onnx", (data.test.images, data.test.labels)
                    )
                cells = [f"{share:.2%}" for share in made.accuracy]
                cells += [f"{size / 1024:.0f} KiB" for size in made.bytes]
                cells += [f"{time:.2f} ms" for time in made.milliseconds]
                print(f"| {target} | {name}, {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
