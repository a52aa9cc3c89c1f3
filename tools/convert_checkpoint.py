#!/usr/bin/env python
"""Make one safetensors file of a run's checkpoint folder: weights, class names and config, for evaluation, prediction
and as train.init_from. Or one .pth file of a Mask R-CNN's weights under detectron2's names."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/convert_checkpoint.py output/x/checkpoints/step_00001234 --output model.safetensors
  python tools/convert_checkpoint.py output/x --output model.safetensors
  python tools/convert_checkpoint.py output/x --output detector.pth --layout detectron2

The folder may come from any number of processes, sharded or not. Where the run kept a moving average of its weights,
that is what the file holds. Optimiser and random state stay behind: a run is resumed from its folder.
A file in detectron2's layout is named as Meta's released detectors are; model.weights=F of a config reads it again.
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, metavar="FOLDER", help="a step_* folder, or a run (its newest step)")
    parser.add_argument("--output", required=True, type=Path, metavar="F", help="file to write: .safetensors, or .pth")
    parser.add_argument(
        "--layout", choices=("pe_dense", "detectron2"), default="pe_dense",
        help="detectron2: the weights alone, under its names (.pth; default: pe_dense, .safetensors)",
    )  # fmt: skip
    return parser.parse_args()


def convert(args: argparse.Namespace) -> int:
    """Read, write, and say what it is."""
    if args.layout == "detectron2":
        from pe_dense.model_zoo import export_detectron2

        size = export_detectron2(args.checkpoint, args.output) / 1e6
        sys.stdout.write(f"{args.output}: {size:.4g} M numbers\n")
        return 0
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
