#!/usr/bin/env python
"""Score results of multi-object tracking: HOTA, CLEAR MOT (MOTA, MOTP) and identity (IDF1), as TrackEval does."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pe_dense.data.mot import TrackingSequence

EXAMPLES = """examples:
  python tools/evaluate_mot.py --benchmark MOT17 --gt datasets/MOT17/train --sequences "*-FRCNN" \\
      --results output/x/tracks --output scores.json
  python tools/evaluate_mot.py --benchmark MOT17 --gt gt/mot_challenge/MOT17-train \\
      --results trackers/mot_challenge/MOT17-train/ours
  python tools/evaluate_mot.py --benchmark DanceTrack --gt datasets/dancetrack/val --results output/x/tracks
  python tools/evaluate_mot.py --benchmark KITTI --gt datasets/kitti/training \\
      --seqmap evaluate_tracking.seqmap.training --results output/x/tracks
  python tools/evaluate_mot.py --benchmark MOT15 --gt TUD-Campus --gt-file gt.txt --results TUD-Campus/test.txt

layouts:
  MOT15, MOT16, MOT17, MOT20, DanceTrack, MOTS   <gt>/<sequence>/{gt/gt.txt,seqinfo.ini}
  KITTI                                          <gt>/label_02/<sequence>.txt
  KITTI-MOTS                                     <gt>/instances_txt/<sequence>.txt
results: <results>/<sequence>.txt or <results>/data/<sequence>.txt, an empty file where nothing was found
"""
BENCHMARKS = ("MOT15", "MOT16", "MOT17", "MOT20", "DanceTrack", "KITTI", "MOTS", "KITTI-MOTS")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--benchmark", required=True, choices=BENCHMARKS, help="whose file format and pre-processing to use"
    )
    parser.add_argument("--gt", required=True, type=Path, metavar="DIR", help="folder of sequences, or of one sequence")
    parser.add_argument(
        "--results", required=True, type=Path, metavar="DIR_OR_TXT",
        help="the tracker's folder, or the file of the only sequence",
    )  # fmt: skip
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these; * stands for anything")
    parser.add_argument("--seqmap", type=Path, metavar="TXT", help="list of the sequences (KITTI: with their lengths)")
    parser.add_argument(
        "--gt-file", default="gt/gt.txt", metavar="TXT",
        help="annotations inside a sequence's folder, such as gt/gt_val_half.txt (default: gt/gt.txt)",
    )  # fmt: skip
    parser.add_argument(
        "--no-preprocessing",
        action="store_true",
        help="count every class and keep every result (boxes of MOTChallenge)",
    )
    parser.add_argument("--detailed", action="store_true", help="also print recalls and precisions")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one per core)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="JSON_OR_CSV", help="write all numbers, as fractions, to this file"
    )
    args = parser.parse_args()
    if args.no_preprocessing and args.benchmark.startswith(("KITTI", "MOTS")):
        parser.error(f"--no-preprocessing is for boxes of MOTChallenge, not for {args.benchmark}")
    return args


def rules(args: argparse.Namespace) -> tuple[list[TrackingSequence], Any]:
    """The sequences and the protocol of the benchmark."""
    from pe_dense.data import mot as files
    from pe_dense.evaluation import mot

    masks = {"MOTS": (files.MOTS_FORMAT, mot.MOTS), "KITTI-MOTS": (files.KITTI_MOTS_FORMAT, mot.KITTI_MOTS)}
    boxes = {"MOT15": mot.MOT15, "MOT20": mot.MOT20, "KITTI": mot.KITTI}
    track_format, protocol = masks.get(args.benchmark, (files.MOT_FORMAT, boxes.get(args.benchmark, mot.MOT17)))
    if args.benchmark.startswith("KITTI"):
        track_format = files.KITTI_FORMAT if args.benchmark == "KITTI" else track_format
        return files.find_kitti_sequences(args.gt, args.sequences, args.seqmap, track_format), protocol
    found = files.find_mot_sequences(
        args.gt, names=args.sequences, seqmap=args.seqmap, ground_truth=args.gt_file, track_format=track_format
    )
    return found, mot.MOT15 if args.no_preprocessing else protocol


def evaluate(args: argparse.Namespace) -> int:
    """Score and print."""
    from pe_dense.data.mot import match_results
    from pe_dense.evaluation import mot

    sequences, protocol = rules(args)
    table = mot.evaluate_tracking(match_results(sequences, args.results), protocol, args.workers)
    sys.stdout.write(mot.format_tracking(table, args.detailed) + "\n")
    if args.output:
        mot.write_scores(table, args.output)
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: evaluate(args))


if __name__ == "__main__":
    sys.exit(main())
