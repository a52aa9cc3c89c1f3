#!/usr/bin/env python
"""Train or evaluate a model from a config file."""

from __future__ import annotations

import argparse
import sys

EXAMPLES = """examples:
  python tools/train_net.py --config-file configs/demo/mask_rcnn_scenes.py train.epochs=20
  python tools/train_net.py --config-file output/x/config.yaml --resume
  python tools/train_net.py --config-file output/x/config.yaml --eval-only
  python tools/train_net.py --config-file output/x/config.yaml --eval-only \\
      --output output/x/other_data dataloader.test.dataset.json_file=J \\
      dataloader.test.dataset.image_root=D evaluator.json_file=J
  python tools/train_net.py --eval-only --zoo mask_rcnn_pe_spatial_g_coco data.root=/data/coco
  python tools/train_net.py --config-file F --num-gpus 8 dataloader.train.batch_size=64
  torchrun --nproc-per-node 8 tools/train_net.py --config-file F
"""


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    recipe = parser.add_mutually_exclusive_group(required=True)
    recipe.add_argument("--config-file", metavar="F", help="a .py config, or a run's config.yaml")
    recipe.add_argument(
        "--zoo", metavar="NAME",
        help="with --eval-only: a released detector with its released settings, see docs/model_zoo.md",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="continue the run in train.output_dir exactly")
    parser.add_argument("--eval-only", action="store_true", help="evaluate and do not train")
    parser.add_argument(
        "--checkpoint", metavar="C",
        help="with --eval-only: the checkpoint to evaluate; default: best.safetensors of "
        "train.output_dir, else the newest",
    )  # fmt: skip
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="with --eval-only: folder of the results; default: inference/ in train.output_dir",
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved config and do nothing else")
    processes = parser.add_mutually_exclusive_group()
    processes.add_argument("--num-gpus", type=positive, metavar="N", help="N processes on this machine, one GPU each")
    processes.add_argument("--num-procs", type=positive, metavar="N", help="N processes on this machine's CPU")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="set a config value, e.g. train.epochs=12; +key=value adds one",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Body of every process."""
    from pe_dense.config import load_config
    from pe_dense.engine import evaluate, train

    if arguments.zoo is not None:
        from pe_dense import model_zoo

        model_zoo.evaluate(arguments.zoo, arguments.overrides, arguments.output)
        return
    cfg = load_config(arguments.config_file, arguments.overrides)
    if arguments.eval_only:
        evaluate(cfg, arguments.checkpoint, arguments.output)
    else:
        train(cfg, resume=arguments.resume)


def main() -> int:
    parser = make_parser()
    arguments = parser.parse_intermixed_args()
    if arguments.checkpoint is not None and not arguments.eval_only:
        parser.error("--checkpoint goes with --eval-only; to start a new run from weights, set train.init_from=C")
    if arguments.output is not None and not arguments.eval_only:
        parser.error("--output goes with --eval-only; the folder of a training run is train.output_dir=DIR")
    if arguments.eval_only and arguments.resume:
        parser.error("--eval-only and --resume exclude each other")
    if arguments.zoo is not None and (not arguments.eval_only or arguments.checkpoint is not None):
        parser.error(
            "--zoo goes with --eval-only and has its own weights; to train from them, give its recipe as --config-file "
            "and the file as model.weights=F"
        )
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: start(arguments))


def start(arguments: argparse.Namespace) -> int:
    """Check the config once, then print it or start the processes."""
    from pe_dense.config import format_config, load_config
    from pe_dense.launch import launch

    if arguments.zoo is None:
        cfg = load_config(arguments.config_file, arguments.overrides, allow_unset=arguments.print_config)
    else:
        from pe_dense import model_zoo
        from pe_dense.engine import setup_logging

        cfg = model_zoo.recipe(arguments.zoo, arguments.overrides)
        if not arguments.print_config:  # fetched here, so that the processes find it
            setup_logging()  # fetching takes minutes
            model_zoo.find_file(arguments.zoo, cfg.model.get("weights"))
    if arguments.print_config:
        sys.stdout.write(format_config(cfg) + "\n")
        return 0
    backend = "nccl" if arguments.num_gpus else "gloo" if arguments.num_procs else None
    if backend is not None:
        arguments.overrides.append(f"train.device={'cuda' if backend == 'nccl' else 'cpu'}")
    launch(run, arguments.num_gpus or arguments.num_procs or 1, (arguments,), backend)
    return 0


if __name__ == "__main__":
    sys.exit(main())
