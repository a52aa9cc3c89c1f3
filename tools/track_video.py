#!/usr/bin/env python
"""Follow objects through a video, from their masks in its first frame: a mask of each frame, and a drawn video."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "davis" / "propagation_pe_spatial_b16.py"
EXAMPLES = """examples:
  python tools/track_video.py clip.mp4 first_mask.png --output tracked
  python tools/track_video.py DAVIS/JPEGImages/480p/bike DAVIS/Annotations/480p/bike/00000.png --output results
  python tools/track_video.py clip.mp4 first_mask.png --output tracked --checkpoint output/davis_projection
  python tools/track_video.py frames masks --output tracked --config-file configs/davis/propagation_pe_spatial_l14.py \\
      model.backbone.layers=[17] model.propagation.min_score=0.3

MASKS is an indexed (palette or greyscale) PNG of the first frame, 0 = background, other values = ids of objects; or a
folder with such files named like the frames: objects that appear later are taken from the first one that shows them.
Output folder: NAME/FRAME.png, indexed with DAVIS's palette, ready to be submitted, and NAME.mp4. The exit status is 0,
2 after an error, 130 after Ctrl-C; what is written by then stays.
"""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, metavar="VIDEO", help="video file, or folder of frames")
    parser.add_argument("masks", type=Path, metavar="MASKS", help="PNG of the first frame, or folder of PNGs")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the config")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write into")
    parser.add_argument(
        "--config-file", type=Path, metavar="F",
        help="with the tracker and its encoder (default: DINO's protocol on PE-Spatial B)",
    )  # fmt: skip
    parser.add_argument("--checkpoint", type=Path, metavar="C", help="of a trained tracker, or its run folder")
    parser.add_argument(
        "--encoder-from", type=Path, metavar="C", help="checkpoint or run folder of any model, whose encoder to take"
    )
    parser.add_argument("--device", default="auto", metavar="D", help='"auto" (default), "cpu", "cuda" or "cuda:N"')
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the encoder (default: fp32)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th frame (default: 1)")
    parser.add_argument("--fps", type=float, default=24.0, help="of the video drawn for a folder (default: 24)")
    parser.add_argument("--no-draw", action="store_true", help="write the masks only")
    parser.add_argument(
        "--draw-as", choices=("mp4", "webm", "avi", "frames"), default="mp4",
        help='format of the drawn video; "frames" is a folder of pictures, NAME_frames (default: mp4)',
    )  # fmt: skip
    return parser


def track(args: argparse.Namespace) -> int:
    """Follow the objects."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, with the video finished
    from pe_dense.engine import setup_logging
    from pe_dense.engine.settings import pick_device
    from pe_dense.prediction import TrackerSource, track_video

    setup_logging()
    config = args.config_file if args.config_file is not None or args.checkpoint is not None else CONFIG
    source = TrackerSource.find(config, args.overrides, args.checkpoint, args.encoder_from)
    tracker = source.build(pick_device(args.device))
    tracked = track_video(
        tracker,
        args.video,
        args.masks,
        args.output,
        not args.no_draw,
        args.every,
        args.fps,
        args.precision,
        args.draw_as,
    )
    sys.stdout.write("".join(f"{path}\n" for path in (tracked.masks, tracked.video) if path is not None))
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = make_parser().parse_intermixed_args()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: track(args))


if __name__ == "__main__":
    sys.exit(main())
