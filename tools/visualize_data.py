#!/usr/bin/env python
"""Draw what the data loader of a config feeds to the model, augmentations included."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/visualize_data.py --config-file configs/demo/mask_rcnn_scenes.py --output batch.png
  python tools/visualize_data.py --config-file F --split test --num 9 --output test.png dataloader.test.batch_size=1
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="F", help="a .py config, or a run's config.yaml")
    parser.add_argument("--split", choices=("train", "test"), default="train", help="which loader (default: train)")
    parser.add_argument("--num", type=int, default=16, metavar="N", help="how many samples (default: 16)")
    parser.add_argument("--start", type=int, default=0, metavar="STEP", help="first training step to show (default: 0)")
    parser.add_argument("--cell", type=int, default=480, metavar="PX", help="width of each picture (default: 480)")
    parser.add_argument(
        "--color-by", choices=("class", "instance"), default="class",
        help="one colour per class or per object (default: class)",
    )  # fmt: skip
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="contact sheet to write")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the config")
    return parser.parse_intermixed_args()


def draw(args: argparse.Namespace) -> int:
    """Write the contact sheet."""
    from pe_dense.config import instantiate, load_config
    from pe_dense.visualization.samples import visualize_batches

    cfg = load_config(args.config_file, args.overrides)
    node = cfg.dataloader[args.split]
    node.num_workers = 0  # the samples do not depend on it, and a few are loaded sooner without starting processes
    if args.split == "test":
        node.with_instances = True
    loader = instantiate(node)
    batches = loader.iterate(args.start) if args.split == "train" else loader
    categories = getattr(loader.dataset, "categories", None)  # depth has no classes
    names = categories.names if categories else None
    labels = getattr(loader.dataset, "classes", None)
    count = visualize_batches(batches, args.output, names, args.num, args.cell, args.color_by, labels)
    sys.stdout.write(f"drew {count} samples of the {args.split} loader: {args.output}\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: draw(args))


if __name__ == "__main__":
    sys.exit(main())
