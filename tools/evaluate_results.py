#!/usr/bin/env python
"""Score a COCO results file (boxes and masks) against its ground truth, without a model."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/evaluate_results.py --json-file datasets/coco/annotations/instances_val2017.json \\
      --results output/x/inference/coco_instances_results.json --per-class
  python tools/evaluate_results.py --json-file val.json --results boxes.json --tasks bbox --output metrics.json
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json-file", required=True, type=Path, metavar="JSON", help="COCO-format ground truth")
    parser.add_argument("--results", required=True, type=Path, metavar="JSON", help="results in COCO format")
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=("bbox", "segm"),
        help="what to score (default: whatever both files have)",
    )
    parser.add_argument(
        "--max-detections", type=int, default=100, metavar="N", help="per image and class (default: 100)"
    )
    parser.add_argument(
        "--all-images",
        action="store_true",
        help="score all images of the ground truth, not only those the results' evaluated_images.json lists",
    )
    parser.add_argument("--per-class", action="store_true", help="also print the AP of each class")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="JSON",
        help="write all numbers, in percent, to this file (null where there is no such object)",
    )
    return parser.parse_args()


def evaluate(args: argparse.Namespace) -> int:
    """Score and print."""
    from pe_dense.evaluation import evaluate_coco_results, format_results, read_evaluated_images

    evaluated = read_evaluated_images(args.results, args.json_file)
    image_ids = None if args.all_images else evaluated
    metrics = evaluate_coco_results(args.json_file, args.results, args.tasks, args.max_detections, image_ids)
    shown = {k: v for k, v in metrics.items() if args.per_class or "/AP-" not in k}
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
