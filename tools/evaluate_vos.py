#!/usr/bin/env python
"""Score saved masks of objects in videos: J, F and J&F as DAVIS 2017's semi-supervised evaluation computes them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

FORMATS = ("davis2017", "davis2016", "youtube-vos", "folder")
EXAMPLES = """examples:
  python tools/evaluate_vos.py --root datasets/DAVIS --results output/x/masks
  python tools/evaluate_vos.py --format davis2016 --root datasets/DAVIS --split all --results osvos --per-object
  python tools/evaluate_vos.py --format youtube-vos --root datasets/YouTubeVOS/val --results masks --output scores
  python tools/evaluate_vos.py --format folder --root own/annotations --results masks --sequences dog cat

results: RESULTS/<sequence>/<frame>.png, indexed PNGs with the annotations' numbers; those of the first frame, and for
DAVIS of the last, are not needed.
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the data set (default: %(default)s)")
    parser.add_argument(
        "--root", required=True, type=Path, metavar="DIR",
        help="the data set: the folder with Annotations; for 'folder' the one with a folder of masks per sequence",
    )  # fmt: skip
    parser.add_argument("--results", required=True, type=Path, metavar="DIR", help="the masks to score")
    parser.add_argument("--split", default="val", help="DAVIS: list in ImageSets, or 'all' (default: val)")
    parser.add_argument(
        "--resolution", default="480p", metavar="R", help="DAVIS: folder in Annotations (default: 480p)"
    )
    parser.add_argument(
        "--train-meta", type=Path, metavar="JSON",
        help="YouTube-VOS: the training set's meta.json, to tell seen from unseen categories",
    )  # fmt: skip
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="score only these")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N",
        help="most processes that share the sequences (default: one per core)",
    )  # fmt: skip
    parser.add_argument("--per-object", action="store_true", help="also print the numbers of each object")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write vos.json and DAVIS's two tables (.csv) there")
    return parser.parse_args()


def evaluate(args: argparse.Namespace) -> int:
    """Score and print."""
    from pe_dense import evaluation
    from pe_dense.data import open_video_set
    from pe_dense.prediction.progress import ProgressReport

    split = None if args.split == "all" else args.split
    truth = open_video_set(args.format, args.root, split, args.resolution, args.sequences, args.train_meta)
    with ProgressReport() as report:
        report.start("scoring", "sequence", len(truth))
        scores = evaluation.evaluate_vos_results(truth, args.results, args.workers, report.advance)
    metrics = evaluation.vos_metrics(scores)
    shown = {k: v for k, v in metrics.items() if args.per_object or not evaluation.is_per_class(k)}
    sys.stdout.write(evaluation.format_results(shown) + "\n")
    if args.output:
        evaluation.write_vos_tables(args.output, scores)
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: evaluate(args))


if __name__ == "__main__":
    sys.exit(main())
