#!/usr/bin/env python
"""Write the embedded data set: small textured scenes with boxes, masks, depth, semantic labels and videos."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """example:
  python tools/make_scenes.py --output datasets/scenes --train 400 --val 100 --size 192 --seed 0
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--train", type=int, default=400, metavar="N", help="training images (default: 400)")
    parser.add_argument("--val", type=int, default=100, metavar="N", help="validation images (default: 100)")
    parser.add_argument("--size", type=int, default=192, metavar="PX", help="height and width (default: 192)")
    parser.add_argument("--videos", type=int, default=4, metavar="N", help="videos of 24 frames (default: 4)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (default: 0)")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="worker processes; no effect on the result (default: 1)"
    )
    return parser.parse_args()


def write(args: argparse.Namespace) -> int:
    """Write the data set."""
    from pe_dense.data.scenes import write_scenes

    paths = write_scenes(**vars(args))
    sys.stdout.write(f"wrote {args.train} + {args.val} images and {args.videos} videos below {paths.root}\n")
    sys.stdout.write(f"training json: {paths.train_json}\nvalidation json: {paths.val_json}\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: write(args))


if __name__ == "__main__":
    sys.exit(main())
