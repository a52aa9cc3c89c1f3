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


def main() -> int:
    """Parse the command line and write the contact sheet; 0, or 2 after an error of the user's."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="F", help="a .py config, or a run's config.yaml")
    parser.add_argument("--split", choices=("train", "test"), default="train", help="which loader (default: train)")
    parser.add_argument("--num", type=int, default=16, metavar="N", help="how many samples (default: 16)")
    parser.add_argument("--start", type=int, default=0, metavar="STEP", help="first training step to show (default: 0)")
    parser.add_argument("--cell", type=int, default=480, metavar="PX", help="width of each picture (default: 480)")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="contact sheet to write")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the config")
    args = parser.parse_args()
    from pe_dense.config import instantiate, load_config
    from pe_dense.launch import user_message
    from pe_dense.visualization.samples import visualize_batches

    try:
        cfg = load_config(args.config_file, args.overrides)
        node = cfg.dataloader[args.split]
        node.num_workers = 0  # the samples do not depend on it, and a few are loaded sooner without starting processes
        if args.split == "test":
            node.with_instances = True
        loader = instantiate(node)
        batches = loader.iterate(args.start) if args.split == "train" else loader
        count = visualize_batches(batches, args.output, loader.dataset.categories.names, args.num, args.cell)
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        sys.stderr.write(f"error: {message}\n")
        return 2
    sys.stdout.write(f"drew {count} samples of the {args.split} loader: {args.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
