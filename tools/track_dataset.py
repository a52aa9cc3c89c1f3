#!/usr/bin/env python
"""Follow the objects of a whole data set of videos: masks ready to be submitted, and their scores."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "davis" / "propagation_pe_spatial_b16.py"
FORMATS = ("davis2017", "davis2016", "youtube-vos", "folder")
EXAMPLES = """examples:
  python tools/track_dataset.py --root datasets/DAVIS --output output/davis
  python tools/track_dataset.py --root datasets/DAVIS --output output/davis_l14 --workers 4 --resume \\
      --config-file configs/davis/propagation_pe_spatial_l14.py model.backbone.layers=[17]
  python tools/track_dataset.py --format youtube-vos --root datasets/YouTubeVOS/valid \\
      --images datasets/YouTubeVOS/valid_all_frames/JPEGImages --output output/youtube
  python tools/track_dataset.py --root datasets/DAVIS --checkpoint output/davis_projection --output output/learnt
  python tools/track_dataset.py --format folder --root own/masks --images own/frames --output output/own

Output folder: masks/SEQUENCE/FRAME.png, indexed with DAVIS's palette, to be submitted as they are; where more than the
given masks is annotated also scores/ (vos.json and DAVIS's two tables); and tracked_with.json. Given are the masks of
each object's first frame. --resume goes on after the sequences that are complete. The exit status is 0, 2 after an
error, 130 after Ctrl-C.
"""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the config")
    data = parser.add_argument_group("data")
    data.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the data set (default: %(default)s)")
    data.add_argument(
        "--root", required=True, type=Path, metavar="DIR",
        help="the data set: the folder with Annotations; for 'folder' the one with a folder of masks per sequence",
    )  # fmt: skip
    data.add_argument(
        "--images", type=Path, metavar="DIR",
        help="folder with a folder of images per sequence: for 'folder'; for YouTube-VOS one with more frames than "
        "masks are asked for (those in meta.json, else in JPEGImages)",
    )  # fmt: skip
    data.add_argument("--split", default="val", help="DAVIS: list in ImageSets, or 'all' (default: val)")
    data.add_argument("--resolution", default="480p", metavar="R", help="DAVIS: folder in Annotations (default: 480p)")
    data.add_argument("--sequences", nargs="+", metavar="NAME", help="track only these")
    model = parser.add_argument_group("tracker")
    model.add_argument("--config-file", type=Path, metavar="F", help="default: DINO's protocol on PE-Spatial B")
    model.add_argument("--checkpoint", type=Path, metavar="C", help="of a trained tracker, or its run folder")
    model.add_argument(
        "--encoder-from", type=Path, metavar="C", help="checkpoint or run folder of any model, whose encoder to take"
    )
    model.add_argument("--seed", type=int, default=0, metavar="S", help="of random weights, where none are given")
    model.add_argument("--device", default="auto", metavar="D", help='"auto" (default), "cpu", "cuda" or "cuda:N"')
    model.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the encoder (default: fp32)")
    run = parser.add_argument_group("run")
    run.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write into")
    run.add_argument(
        "--workers", type=int, default=1, metavar="N",
        help="processes that share the sequences, with several GPUs one after another on each (default: 1)",
    )  # fmt: skip
    run.add_argument("--resume", action="store_true", help="continue: complete sequences are not tracked again")
    run.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run")
    run.add_argument("--per-object", action="store_true", help="also print the scores of each object")
    return parser


def track(args: argparse.Namespace) -> int:
    """Track, and print the scores."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, with the other processes
    from pe_dense import evaluation
    from pe_dense.data import open_video_set
    from pe_dense.engine import setup_logging
    from pe_dense.prediction import TrackerSource, track_set

    setup_logging()
    config = args.config_file if args.config_file is not None or args.checkpoint is not None else CONFIG
    source = TrackerSource.find(config, args.overrides, args.checkpoint, args.encoder_from, args.seed)
    split = None if args.split == "all" else args.split
    videos = open_video_set(args.format, args.root, split, args.resolution, args.sequences, images=args.images)
    done = track_set(
        source, videos, args.output, args.device, args.precision, args.workers, args.resume, args.overwrite
    )
    if done.scores:
        metrics = evaluation.vos_metrics(done.scores)
        shown = {k: v for k, v in metrics.items() if args.per_object or not evaluation.is_per_class(k)}
        sys.stdout.write(evaluation.format_results(shown) + "\n")
    sys.stdout.write(f"{done.masks}\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = make_parser().parse_intermixed_args()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: track(args))


if __name__ == "__main__":
    sys.exit(main())
