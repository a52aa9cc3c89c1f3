#!/usr/bin/env python
"""Track the objects of a video: ids, trails and masks as a video, MOTChallenge results, and a table of the tracks."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pe_dense.modeling.tracking.association import CameraMotion, Settings
    from pe_dense.prediction import Predictor
    from pe_dense.prediction.detection_files import FileDetections
    from pe_dense.prediction.footage import Footage

EXAMPLES = """examples:
  python tools/track.py street.mp4 --checkpoint output/detector --output tracks
  python tools/track.py frames/ --checkpoint C --output tracks --tracker botsort --set reidentify=0.1 buffer=60
  python tools/track.py street.mp4 --checkpoint output/track_identity --output tracks --tracker botsort
  python tools/track.py drone.mp4 --checkpoint C --output tracks --camera-motion flow
  python tools/track.py MOT17/train/MOT17-04-FRCNN --detections MOT17/train/MOT17-04-FRCNN/det/det.txt --output tracks
  python tools/track.py clip.mp4 --detections predictions/predictions.json --output tracks --tracker ocsort
  python tools/track.py street.mp4 --checkpoint C --output tracks --mots person=2 car=1 truck=1

output folder, for clip.mp4, a folder clip/ or a sequence clip:
  clip.txt          MOTChallenge results: frame (from 1), id, left, top, width, height, score, -1, -1, -1
  clip_tracks.csv   a row per track: class, frames, mean score, length of the path, first and last place, mean size
  clip.mp4          the video with ids, trails and masks; or, with --draw-as frames, the folder clip_frames/
  mots/clip.txt     with --mots: the masks in MOTS text (frame id class height width rle), frames from 1, no overlaps
After Ctrl-C everything until then is written. The exit status is 0, 2 after an error, 130 after Ctrl-C.
"""
TRACKERS = ("bytetrack", "botsort", "ocsort")


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "video", metavar="VIDEO", help="video file, folder of frames, or sequence of MOTChallenge (with seqinfo.ini)"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write into")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", metavar="C", help="detector: a run's folder or checkpoint")
    source.add_argument(
        "--detections", metavar="FILE", help="detections instead: det.txt of MOTChallenge, or COCO json with scores"
    )
    parser.add_argument("--tracker", choices=TRACKERS, default="bytetrack", help="(default: bytetrack)")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="change its settings, for example high=0.5 buffer=60"
    )
    parser.add_argument("--ignore-classes", action="store_true", help="let tracks change their class")
    parser.add_argument(
        "--appearance-layer", type=int, default=-1, metavar="N",
        help="botsort: block of the encoder whose features are averaged over box or mask (default: -1, the last)",
    )  # fmt: skip
    parser.add_argument(
        "--appearance", choices=("auto", "head", "box", "mask", "none"), default="auto",
        help="botsort: what tells objects apart: the model's identity head, the encoder's features averaged over the "
        "box or the mask, or motion alone (default: auto, the head if the model has one, else box)",
    )  # fmt: skip
    parser.add_argument(
        "--camera-motion", default="none", metavar="M", help='"none" (default), "flow", or a file with a warp per frame'
    )
    parser.add_argument(
        "--score-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="detections' scores that become 0 and 1"
    )
    parser.add_argument("--fps", type=float, metavar="F", help="of a folder of frames (default: seqinfo.ini's, or 30)")
    parser.add_argument(
        "--on-error", choices=("skip", "stop"), default="skip",
        help="what a frame that cannot be read does: be left out with a warning (default), or end it with an error",
    )  # fmt: skip
    parser.add_argument("--no-draw", action="store_true", help="write no video")
    parser.add_argument(
        "--draw-as", choices=("mp4", "webm", "avi", "frames"), default="mp4",
        help='format of the drawn video; "frames" is a folder of pictures (default: mp4)',
    )  # fmt: skip
    parser.add_argument("--trail", type=int, default=30, metavar="N", help="frames of a trail (default: 30)")
    parser.add_argument(
        "--mots", nargs="*", metavar="CLASS=N",
        help="also write the masks in MOTS text; N is 1 (car) or 2 (pedestrian), other classes are left out (default: "
        "car=1 pedestrian=2 person=2)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="D", help='"auto" (default), "cpu", "cuda" or "cuda:N"')
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="frames in one pass (default: 1)")
    return parser


def make_settings(name: str, changes: list[str]) -> Settings:
    """The preset with changes."""
    from pe_dense.modeling.tracking.association import OCSORT, BoTSORT, ByteTrack
    from pe_dense.modeling.tracking.association.settings import changed

    preset: Settings = {"bytetrack": ByteTrack, "botsort": BoTSORT, "ocsort": OCSORT}[name]()
    return changed(preset, changes)


def make_motion(choice: str) -> CameraMotion | None:
    """What the command line says about the camera."""
    from pe_dense.modeling.tracking.association import MotionFile, SparseFlow

    if choice == "none":
        return None
    return SparseFlow() if choice == "flow" else MotionFile(choice)


def make_detector(args: argparse.Namespace, footage: Footage) -> Predictor | FileDetections:
    """A model, with appearance for a tracker that looks at it, or a file."""
    from pe_dense.modeling.tracking.association import with_appearance
    from pe_dense.prediction import load_predictor
    from pe_dense.prediction.detection_files import FileDetections

    if args.detections is not None:
        score_range = None if args.score_range is None else tuple(args.score_range)
        return FileDetections(args.detections, footage.image_numbers, score_range)
    predictor = load_predictor(args.checkpoint, device=args.device)
    if args.tracker == "botsort":
        predictor.model = with_appearance(predictor.model, args.appearance, args.appearance_layer).eval()
    return predictor


def track(args: argparse.Namespace) -> int:
    """Track one video."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, with everything written
    from pe_dense.engine import setup_logging
    from pe_dense.modeling.tracking.association import Tracker
    from pe_dense.prediction.footage import Footage
    from pe_dense.prediction.mots_rows import mots_numbers
    from pe_dense.prediction.track_files import track_file

    setup_logging()
    settings = make_settings(args.tracker, args.set)
    mots = None if args.mots is None else mots_numbers(args.mots)
    footage = Footage.of(args.video, args.fps, args.on_error)
    report = track_file(
        footage,
        make_detector(args, footage),
        Tracker(settings, class_aware=not args.ignore_classes, frame_rate=footage.fps),
        args.output,
        motion=make_motion(args.camera_motion),
        batch_size=args.batch_size,
        appearance=args.appearance != "none",
        draw=not args.no_draw,
        trail=args.trail,
        draw_as=args.draw_as,
        mots=mots,
    )
    sys.stdout.write("".join(f"{path}\n" for path in report.written))
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = make_parser().parse_args()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: track(args))


if __name__ == "__main__":
    sys.exit(main())
