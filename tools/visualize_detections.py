#!/usr/bin/env python
"""Draw ground truth beside the detections of a COCO results file, with the errors marked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/visualize_detections.py --json-file datasets/scenes/annotations/instances_val.json \\
      --image-root datasets/scenes/val --results output/x/inference/coco_instances_results.json --output errors.png
  python tools/visualize_detections.py --json-file J --image-root D --results R --output folder --sort name --num 0
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json-file", required=True, type=Path, metavar="J", help="COCO-format ground truth")
    parser.add_argument("--image-root", required=True, type=Path, metavar="DIR", help="folder of its images")
    parser.add_argument("--results", required=True, type=Path, metavar="R", help="detections, COCO results format")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR_OR_PNG",
        help="a .png or .jpg file: one contact sheet; else a folder: one picture per image",
    )  # fmt: skip
    parser.add_argument("--score-threshold", type=float, default=0.5, metavar="S", help="lowest score (default: 0.5)")
    parser.add_argument(
        "--sort", choices=("error", "score", "name"), default="error",
        help="most errors (missed, false or of wrong class at IoU 0.5) first, highest mean score first, "
        "or by file name (default: error)",
    )  # fmt: skip
    parser.add_argument("--num", type=int, default=12, metavar="N", help="how many images, 0 for all (default: 12)")
    parser.add_argument(
        "--all-images", action="store_true",
        help="draw from all images of the ground truth, not only those the results' evaluated_images.json lists",
    )  # fmt: skip
    parser.add_argument(
        "--color-by", choices=("class", "instance"), default="class",
        help="one colour per class, or per object and its detection (default: class)",
    )  # fmt: skip
    parser.add_argument("--contact-sheet", action="store_true", help="also write contact_sheet.png into the folder")
    return parser.parse_args()


def draw(args: argparse.Namespace) -> int:
    """Write the pictures."""
    from pe_dense.data import CocoDataset
    from pe_dense.evaluation import read_evaluated_images
    from pe_dense.visualization import visualize_detections
    from pe_dense.visualization.matching import read_results

    dataset = CocoDataset(args.json_file, args.image_root)
    evaluated = read_evaluated_images(args.results, args.json_file)
    written = visualize_detections(
        dataset if args.all_images or evaluated is None else dataset.select(evaluated),
        read_results(args.results),
        args.output,
        score_threshold=args.score_threshold,
        sort=args.sort,
        num=args.num,
        sheet=args.contact_sheet,
        color_by=args.color_by,
    )
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: draw(args))


if __name__ == "__main__":
    sys.exit(main())
