#!/usr/bin/env python
"""Find the best layer of an encoder for a task: the same head, or tracker, on each layer, side by side."""

from __future__ import annotations

import argparse
import sys

EXAMPLES = """examples:
  python tools/probe_layers.py --config-file configs/probe/nyu_pe_spatial_b16.py
  python tools/probe_layers.py --config-file configs/probe/ade20k_pe_spatial_b16.py --layers 2 5 8 11 --cache-gb 200
  python tools/probe_layers.py --config-file configs/probe/scenes_depth.py --encoder-from output/scenes_sem_seg
  python tools/probe_layers.py --config-file configs/probe/davis_pe_spatial_l14.py data.root=DAVIS
  python tools/probe_layers.py --config-file output/x/config.yaml --resume

run directory: what every run writes, and scores.* (of the trained heads, or of the objects followed through videos),
knn.* (nearest neighbours) and statistics.* (token norms, outliers, rank, reach of attention), each as .json, .csv and
.png.
Layers count from 0; negative ones count from the last.
"""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="F", help="a config of configs/probe, or a run's")
    parser.add_argument("--layers", nargs="+", type=int, metavar="N", help="blocks to probe (default: as configured)")
    parser.add_argument(
        "--encoder-from", metavar="C", help="a checkpoint or run folder whose encoder to probe instead of the config's"
    )
    parser.add_argument(
        "--cache-gb", type=float, metavar="GB",
        help="keep features on disk, up to so many GB; training images are then not augmented",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", choices=("train", "knn", "track", "statistics"),
        help="what to do (default: train or track, knn if the config has it, and statistics)",
    )  # fmt: skip
    parser.add_argument("--images", type=int, default=64, metavar="N", help="of the statistics (default: 64)")
    parser.add_argument("--metric", nargs="+", metavar="M", help="what to draw (default: the task's usual one)")
    parser.add_argument("--resume", action="store_true", help="continue the run in train.output_dir")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="set a config value, e.g. train.steps=2000")
    return parser


def probe(args: argparse.Namespace) -> int:
    """Train or track, write and print."""
    from pe_dense.config import load_config
    from pe_dense.engine import setup_logging
    from pe_dense.prediction import probing

    setup_logging()
    cfg = load_config(args.config_file, args.overrides)
    if args.layers is not None:
        cfg.model.layers = args.layers
    if args.encoder_from is not None:
        cfg = probing.with_encoder_of(cfg, args.encoder_from)
    if args.cache_gb is not None:
        cfg = probing.with_cache(cfg, args.cache_gb)
    found = probing.run_probe(cfg, args.only, args.resume, args.metric, args.images)
    sys.stdout.write("\n\n".join(scores.table() for scores in found) + "\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    from pe_dense.config import settings_first

    lists = ("--layers", "--only", "--metric")
    args = make_parser().parse_intermixed_args(settings_first(sys.argv[1:], lists))
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: probe(args))


if __name__ == "__main__":
    sys.exit(main())
