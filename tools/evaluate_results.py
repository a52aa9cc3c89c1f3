#!/usr/bin/env python
"""Score saved results against their ground truth, without a model: COCO or LVIS json, depth maps, or label maps."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/evaluate_results.py --json-file datasets/coco/annotations/instances_val2017.json \\
      --results output/x/inference/coco_instances_results.json --per-class
  python tools/evaluate_results.py --json-file datasets/lvis/lvis_v1_val.json \\
      --results output/x/inference/coco_instances_results.json
  python tools/evaluate_results.py --json-file val.json --results boxes.json --tasks bbox --output metrics.json
  python tools/evaluate_results.py --config-file output/x/config.yaml --results output/x/inference/depth \\
      evaluator.alignment=median
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--json-file", type=Path, metavar="JSON", help="ground truth in the format of COCO or LVIS")
    truth.add_argument(
        "--config-file", type=Path, metavar="F",
        help="recipe or a run's config.yaml, whose evaluator scores depth or semantic segmentation",
    )  # fmt: skip
    parser.add_argument(
        "--results", required=True, type=Path, metavar="JSON_OR_DIR",
        help="results in COCO format, or the folder of maps that the evaluator wrote with evaluator.save=true",
    )  # fmt: skip
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the config")
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=("bbox", "segm"),
        help="what to score in COCO results (default: whatever both files have)",
    )
    parser.add_argument(
        "--protocol",
        choices=("coco", "lvis"),
        help="whose numbers to compute (default: lvis if the json names the classes that each image was searched for)",
    )
    parser.add_argument(
        "--max-detections",
        type=int,
        metavar="N",
        help="per image and class by COCO's protocol (default: 100), per image by LVIS's (default: 300)",
    )
    parser.add_argument(
        "--all-images",
        action="store_true",
        help="score all images of the ground truth, not only those the results' evaluated_images.json lists",
    )
    parser.add_argument("--per-class", action="store_true", help="also print the numbers of each class")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="JSON",
        help="write all numbers to this file (null where there is no such object or class)",
    )
    args = parser.parse_intermixed_args()
    if args.overrides and args.config_file is None:
        parser.error(f"{args.overrides[0]} changes a config, but there is no --config-file")
    return args


def score(args: argparse.Namespace) -> dict[str, float]:
    """All numbers."""
    from pe_dense import evaluation

    if args.config_file is not None:
        task = evaluation.DenseResults(args.results).task
        evaluator = evaluation.load_dense_evaluator(args.config_file, args.overrides, task)
        return evaluation.evaluate_dense_results(evaluator, args.results)
    evaluated = evaluation.read_evaluated_images(args.results, args.json_file)
    image_ids = None if args.all_images else evaluated
    if (args.protocol or ("lvis" if evaluation.is_lvis(args.json_file) else "coco")) == "lvis":
        limit = 300 if args.max_detections is None else args.max_detections
        return evaluation.evaluate_lvis_results(args.json_file, args.results, args.tasks, limit, image_ids)
    limit = 100 if args.max_detections is None else args.max_detections
    return evaluation.evaluate_coco_results(args.json_file, args.results, args.tasks, limit, image_ids)


def evaluate(args: argparse.Namespace) -> int:
    """Score and print."""
    from pe_dense.evaluation import format_results, is_per_class

    metrics = score(args)
    shown = {k: v for k, v in metrics.items() if args.per_class or not is_per_class(k)}
    sys.stdout.write(format_results(shown) + "\n")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        numbers = {k: None if math.isnan(v) else v for k, v in metrics.items()}
        args.output.write_text(json.dumps(numbers, indent=2) + "\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: evaluate(args))


if __name__ == "__main__":
    sys.exit(main())
