#!/usr/bin/env python
"""Write a model, or its backbone and pyramid, as files that other programs run: ONNX, and torch.export's .pt2."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pe_dense.deployment import ExportedFile, ExportSource

EXAMPLES = """examples:
  python tools/export.py --encoder PE-Spatial-B16-512 --output b16.onnx --layers 5 11
  python tools/export.py --checkpoint output/demo --image-size 320 320 --output pyramid.onnx pyramid.pt2
  python tools/export.py --checkpoint output/scenes_depth --image-size 192 192 --output depth.onnx
  python tools/export.py --zoo mask_rcnn_pe_spatial_g_coco --output pyramid.onnx --precision fp16
  python tools/export.py --config-file configs/coco/mask_rcnn_pe_spatial_t16_36ep.py --random-weights --output t16.onnx

A file takes "image", uint8 RGB pixels of one size, and gives the levels of the pyramid (p2 ...), the encoder's layers
(block5 ...), or what a model for depth, semantic segmentation or classification predicts. It is run on noise and
compared with the model before it takes its name. What it says about itself: docs/export.md.
"""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", required=True, nargs="+", type=Path, metavar="F", help="files to write: .onnx, .pt2")
    add("--encoder", metavar="NAME", help="official name of an encoder, such as PE-Spatial-B16-512")
    add("--weights", metavar="W", help="file with the encoder's weights (default: the official ones, fetched)")
    add("--layers", nargs="+", type=int, default=[-1], metavar="N", help="blocks of --encoder (default: -1, the last)")
    add("--checkpoint", metavar="C", help="a run's checkpoint, or its folder")
    add("--config-file", metavar="F",
        help="take the model from this config; without --checkpoint, also the weights it names")  # fmt: skip
    add("--zoo", metavar="NAME", help="take a released detector, see docs/model_zoo.md")
    add("--random-weights", action="store_true", help="for --encoder and --config-file: load none, to try the speed")
    add("--part", choices=("features", "predictions"),
        help="default: predictions of depth, semantic segmentation and classes, features of other models")  # fmt: skip
    add("--image-size", nargs=2, type=int, metavar=("H", "W"),
        help="in pixels (default: the encoder's own, or the model's square_size)")  # fmt: skip
    add("--batch", type=int, default=1, metavar="N", help="images at a time (default: 1)")
    add("--normalized", action="store_true", help="take normalised float32 images instead of pixels")
    add("--precision", choices=("fp32", "fp16", "bf16"), default="fp32", help="of weights and computation")
    add("--opset", type=int, metavar="N", help="version of the ONNX operators (default: 20)")
    add("overrides", nargs="*", metavar="key=value", help="set a config value, e.g. model.flip_test=false")
    return parser


def parse() -> argparse.Namespace:
    """The command line, config values anywhere in it."""
    from pe_dense.config import settings_first

    parser = make_parser()
    args = parser.parse_intermixed_args(settings_first(sys.argv[1:], ("--output", "--layers")))
    sources = [args.encoder, args.zoo, args.checkpoint or args.config_file]
    if sum(source is not None for source in sources) != 1:
        parser.error("give one of --encoder, --zoo, and --checkpoint and/or --config-file")
    if args.random_weights and (args.checkpoint is not None or args.zoo is not None):
        parser.error("--random-weights is for --encoder and --config-file: leave it out")
    if args.encoder is None and (args.weights is not None or args.layers != [-1]):
        parser.error("--weights and --layers belong to --encoder")
    if args.encoder is not None and (args.part is not None or args.overrides):
        parser.error("--encoder has layers only: leave --part and config values out")
    return args


def find_source(args: argparse.Namespace) -> ExportSource:
    """What to export."""
    from pe_dense.deployment import ExportSource

    if args.encoder is not None:
        return ExportSource.from_tower(args.encoder, args.layers, args.weights, args.random_weights, args.normalized)
    if args.random_weights:
        return ExportSource.from_recipe(args.config_file, args.overrides, args.part, args.normalized)
    if args.zoo is not None:
        from pe_dense import model_zoo

        predictor = model_zoo.load(args.zoo, device="cpu", overrides=args.overrides)
    else:
        from pe_dense.prediction import load_predictor

        predictor = load_predictor(args.checkpoint, args.config_file, args.overrides, device="cpu")
    name = args.zoo or args.checkpoint or args.config_file
    return ExportSource.from_predictor(predictor, name, args.part, args.normalized)


def export(args: argparse.Namespace) -> int:
    """Write, check, and print."""
    from pe_dense.deployment import export_model
    from pe_dense.engine import setup_logging

    setup_logging()
    size = None if args.image_size is None else (args.image_size[0], args.image_size[1])
    written = export_model(find_source(args), args.output, size, args.batch, args.precision, args.opset)
    sys.stdout.write("".join(map(line, written)))
    return 0


def line(file: ExportedFile) -> str:
    """What a written file is, and how far its outputs are from the model's."""
    rows = [f"{file.path}: {file.path.stat().st_size / 1e6:.4g} MB\n"]
    for name, found in file.differences.items():
        shape = " x ".join(map(str, found.shape))
        rows.append(f"  {name:12} {shape:22} differs by {found.largest:.1e}, largest value {found.scale:.3g}\n")
    return "".join(rows)


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: export(args))


if __name__ == "__main__":
    sys.exit(main())
