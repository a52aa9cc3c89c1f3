#!/usr/bin/env python
"""Make one safetensors file of a run's checkpoint folder: weights, class names and config, for evaluation, prediction
and as train.init_from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/convert_checkpoint.py output/x/checkpoints/step_00001234 --output model.safetensors
  python tools/convert_checkpoint.py output/x --output model.safetensors

The folder may come from any number of processes, sharded or not. Where the run kept a moving average of its weights,
that is what the file holds. Optimiser and random state stay behind: a run is resumed from its folder.
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, metavar="FOLDER", help="a step_* folder, or a run (its newest step)")
    parser.add_argument("--output", required=True, type=Path, metavar="F", help="file to write: .safetensors")
    return parser.parse_args()


def convert(args: argparse.Namespace) -> int:
    """Read, write, and say what it is."""
    from pe_dense.engine import convert_checkpoint

    checkpoint = convert_checkpoint(args.checkpoint, args.output)
    size = sum(value.numel() for value in checkpoint.weights.values()) / 1e6
    sys.stdout.write(f"{args.output}: step {checkpoint.step}, {size:.4g} M numbers\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: convert(args))


if __name__ == "__main__":
    sys.exit(main())
