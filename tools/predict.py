#!/usr/bin/env python
"""Predict objects, depth and labels of images and videos: drawn pictures and videos, and the results as files."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/predict.py --checkpoint output/demo photo.jpg holiday/ clip.mp4 --output predictions
  python tools/predict.py --checkpoint C 'photos/**/*.jpg' --output predictions --score-threshold 0.3 --batch-size 8
  python tools/predict.py --checkpoint C traffic.mkv --output predictions --every 5
  python tools/predict.py --checkpoint C photos --output predictions --no-draw \\
      dataloader.test.transforms.0.short_edge_length=1024
  python tools/predict.py --checkpoint output/depth photos --output P --depth-format npy --depth-range 0 20
  python tools/predict.py --checkpoint output/depth photos --output P --point-clouds --field-of-view 62
  python tools/predict.py --zoo mask_rcnn_pe_spatial_g_coco photos --output P
  python tools/predict.py --config-file configs/coco/mask_rcnn_pe_spatial_b16_36ep.py --checkpoint C photos --output P

output folder:
  one picture per image and one .mp4 (H.264, which browsers play; frame times kept, no sound) per video, named and
  arranged like the inputs, and, as far as the model predicts it,
  predictions.json               objects, a COCO data set: images, annotations with their scores, categories, videos;
                                 file_name is relative to info.image_root, video frame 12 is "clip.mp4#12"
  coco_instances_results.json    the same objects as a list of COCO results
  depth/NAME.png                 16-bit: value / scale + offset is the depth in metres, or without unit if the model's
                                 is relative; scale (1000 up to 65 m, else 256) and offset (0 if metres) are in
                                 depth/predictions.json; or depth/NAME.npy, float32
  sem_seg/NAME.png               8-bit class indices; the class names are in sem_seg/predictions.json
  point_clouds/NAME.ply          of images, with --point-clouds
Frame 12 of clip.mp4 is clip.mp4/000012.png. tools/evaluate_results.py and visualize_dense.py take the folders depth and
sem_seg as --results; as data, depth in metres and labels are what DepthList (with that scale) and SemSegFolder read.
Files and frames of videos that cannot be read are skipped and counted, or end it with --on-error stop; after Ctrl-C
what is finished is kept. The exit status is 0, 2 after an error or if no input could be read, 130 after Ctrl-C.
"""
OVERRIDE = re.compile(r"\+?[A-Za-z_]\w*(\.\w+)*=.*|~[A-Za-z_]\w*(\.\w+)*", re.DOTALL)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT",
        help="image, video, folder (what lies directly in it) or quoted pattern ('photos/**/*'); key=value, when there "
        "is no such file, changes the config",
    )  # fmt: skip
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write into")
    parser.add_argument(
        "--checkpoint", metavar="C",
        help="a run's checkpoint, which brings its own config and class names, or the run's folder "
        "(best.safetensors, else the newest one)",
    )  # fmt: skip
    parser.add_argument(
        "--config-file", metavar="F",
        help="take model and transforms from this config; without --checkpoint, also the weights it names",
    )  # fmt: skip
    parser.add_argument(
        "--zoo", metavar="NAME", help="take a released detector, see docs/model_zoo.md; needs nothing else"
    )
    parser.add_argument(
        "--class-names", metavar="J", help="COCO json with the categories, if there is no checkpoint that holds them"
    )
    parser.add_argument(
        "--score-threshold", type=float, default=0.5, metavar="S",
        help="objects below it are neither drawn nor written (default: 0.5)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="D", help='"auto" (default), "cpu", "cuda" or "cuda:N"')
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images in one pass (default: 1)")
    parser.add_argument(
        "--on-error", choices=("skip", "stop"), default="skip",
        help="what a file or frame of a video that cannot be read does (default: skip, with a warning)",
    )  # fmt: skip
    parser.add_argument("--no-draw", action="store_true", help="write the results only")
    parser.add_argument(
        "--color-by", choices=("class", "instance"), default="class",
        help="one colour per class or per object, of objects (default: class)",
    )  # fmt: skip
    parser.add_argument("--format", choices=("png", "jpg"), default="png", help="of the pictures (default: png)")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N",
        help="predict every N-th frame of a video; the drawn one has as many, and the same duration (default: 1)",
    )  # fmt: skip
    parser.add_argument("--depth-format", choices=("png", "npy"), default="png", help="of depth maps (default: png)")
    parser.add_argument(
        "--depth-range", type=float, nargs=2, metavar=("NEAR", "FAR"),
        help="metres at the ends of the depth's colours (default: those of each picture; in a video it moves slowly)",
    )  # fmt: skip
    parser.add_argument("--point-clouds", action="store_true", help="also write the depth of images as coloured .ply")
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--field-of-view", type=float, metavar="DEGREES", help="horizontal, for point clouds")
    camera.add_argument(
        "--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="in pixels, for point clouds"
    )
    return parser


def is_override(text: str) -> bool:
    """Whether a positional argument changes the config rather than naming an input."""
    return OVERRIDE.fullmatch(text) is not None and not os.path.exists(text)


def parse() -> argparse.Namespace:
    """The command line; overrides of the config are taken out of the inputs."""
    parser = make_parser()
    args = parser.parse_intermixed_args()
    args.overrides = [text for text in args.inputs if is_override(text)]
    args.inputs = [text for text in args.inputs if not is_override(text)]
    own = (args.checkpoint, args.config_file, args.class_names)
    if args.zoo is not None and any(value is not None for value in own):
        parser.error("--zoo brings its own weights, settings and class names: leave the other options out")
    if args.zoo is None and args.checkpoint is None and args.config_file is None:
        parser.error("give --checkpoint, --config-file, or both; or --zoo")
    if args.point_clouds != (args.field_of_view is not None or args.intrinsics is not None):
        parser.error("--point-clouds and --field-of-view or --intrinsics belong together")
    if not args.inputs:
        parser.error("give at least one image, video, folder or pattern")
    return args


def predict(args: argparse.Namespace) -> int:
    """Predict all inputs."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, with everything written
    from pe_dense.engine import setup_logging
    from pe_dense.prediction import load_predictor, predict_files
    from pe_dense.prediction.inputs import find_inputs
    from pe_dense.visualization import Intrinsics

    setup_logging()
    find_inputs(args.inputs, args.output)  # a wrong name is noticed before the model is loaded
    if args.zoo is not None:
        from pe_dense import model_zoo

        predictor = model_zoo.load(
            args.zoo, device=args.device, score_threshold=args.score_threshold, overrides=args.overrides
        )
    else:
        predictor = load_predictor(
            args.checkpoint, args.config_file, args.overrides, args.device, args.score_threshold, args.class_names
        )
    report = predict_files(
        predictor,
        args.inputs,
        args.output,
        draw=not args.no_draw,
        image_format=args.format,
        every=args.every,
        batch_size=args.batch_size,
        color_by=args.color_by,
        depth_format=args.depth_format,
        depth_range=None if args.depth_range is None else (args.depth_range[0], args.depth_range[1]),
        on_error=args.on_error,
        camera=args.field_of_view if args.intrinsics is None else Intrinsics(*args.intrinsics),
    )
    if not report.images and not report.frames:
        sys.stderr.write(f"error: none of the {len(report.skipped)} inputs could be read\n")
        return 2
    sys.stdout.write("".join(f"{path}\n" for path in report.json_files))
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: predict(args))


if __name__ == "__main__":
    sys.exit(main())
