#!/usr/bin/env python
"""Draw image, ground truth, prediction and error of saved depth or label maps, the worst first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/predict.py --checkpoint output/x IMAGES --output predicted
  python tools/visualize_dense.py --config-file output/x/config.yaml --results predicted/depth --output errors.png
  python tools/visualize_dense.py --config-file F --results R --output folder --sort name --num 0 --depth-error signed
  python tools/visualize_dense.py --config-file F --results R --output folder --point-clouds --field-of-view 62
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file", required=True, type=Path, metavar="F",
        help="recipe or a run's config.yaml; its evaluator says which pixels count and how depth is aligned",
    )  # fmt: skip
    parser.add_argument(
        "--results", required=True, type=Path, metavar="DIR",
        help="folder of maps: what predict.py writes for the images of the test data, or evaluator.save=true (a run's "
        "inference/depth)",
    )  # fmt: skip
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR_OR_PNG",
        help="a .png or .jpg file: one contact sheet; else a folder: one picture per image",
    )  # fmt: skip
    parser.add_argument(
        "--sort", choices=("error", "name"), default="error",
        help="highest AbsRel or share of wrong pixels first, or by file name (default: error)",
    )  # fmt: skip
    parser.add_argument("--num", type=int, default=12, metavar="N", help="how many images, 0 for all (default: 12)")
    parser.add_argument("--contact-sheet", action="store_true", help="also write contact_sheet.png into the folder")
    parser.add_argument(
        "--depth-error", choices=("abs_rel", "signed"), default="abs_rel",
        help="error in percent of the depth, or in metres with its sign (default: abs_rel)",
    )  # fmt: skip
    parser.add_argument(
        "--point-clouds", action="store_true",
        help="also write predicted and true depth as coloured .ply files into the folder",
    )  # fmt: skip
    parser.add_argument(
        "--field-of-view", type=float, metavar="DEGREES",
        help="horizontal, for point clouds of images whose data set does not know the focal length",
    )  # fmt: skip
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the config")
    return parser.parse_intermixed_args()


def draw(args: argparse.Namespace) -> int:
    """Write the pictures."""
    from pe_dense.evaluation import DenseResults, load_dense_evaluator
    from pe_dense.visualization import visualize_dense

    results = DenseResults(args.results)
    evaluator = load_dense_evaluator(args.config_file, args.overrides, results.task)
    results.match_data(evaluator.dataset)
    written = visualize_dense(
        evaluator.dataset,
        results.image_ids,
        lambda image_id: evaluator.compare(image_id, results.output(image_id)),
        args.output,
        names=results.classes,
        sort=args.sort,
        num=args.num,
        sheet=args.contact_sheet,
        depth_error=args.depth_error,
        point_clouds=args.point_clouds,
        field_of_view=args.field_of_view,
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
