#!/usr/bin/env python
"""Draw what the encoder sees: principal components, similarity, clusters and attention of any of its layers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/visualize_features.py --encoder PE-Spatial-B16-512 photos --output features --layers 2 5 8 11
  python tools/visualize_features.py --encoder PE-Core-L14-336 --weights L.pt a.jpg b.jpg --output features \\
      --show similarity attention --point 320 200 --layers -1 --head 3
  python tools/visualize_features.py --checkpoint output/demo photos --output features --page --short-side 320
  python tools/visualize_features.py --encoder PE-Spatial-B16-512 clip.mp4 --output features --every 2
  python tools/visualize_features.py --encoder PE-Spatial-S16-512 photos --output features --masks foreground

output folder: a sheet per kind (pca.png ...) with a row per image and a column per layer; a video per kind and video;
with --page features.html, a page for any browser: the mouse over one image shows what is alike in the others.
Layers count from 0; negative ones count from the last.
"""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, video, folder or quoted pattern")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write into")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--encoder", metavar="NAME", help="official name of an encoder, such as PE-Spatial-B16-512")
    source.add_argument("--checkpoint", metavar="C", help="a run's checkpoint or folder, whose encoder to look into")
    parser.add_argument(
        "--weights", metavar="W", help="file with the encoder's weights (default: the official ones, fetched)"
    )
    parser.add_argument("--random-weights", action="store_true", help="do not load weights into the encoder")
    parser.add_argument(
        "--layers", nargs="+", type=int, default=[-1], metavar="N", help="blocks to draw (default: -1, the last)"
    )
    parser.add_argument(
        "--show", nargs="+", choices=("pca", "similarity", "clusters", "attention"), default=["pca"],
        help="what to draw of them (default: pca)",
    )  # fmt: skip
    parser.add_argument(
        "--short-side", type=int, metavar="PX",
        help="size of the images (default: the encoder's own, or that of the run's tests)",
    )  # fmt: skip
    parser.add_argument(
        "--fit", choices=("set", "image"), default="set",
        help="pca: the same colours for all images, or each image its own (default: set)",
    )  # fmt: skip
    parser.add_argument(
        "--masks", type=Path, metavar="DIR", help="pca: fit to and show only where DIR/<image>.png is not 0"
    )
    parser.add_argument(
        "--point", nargs=2, type=float, metavar=("X", "Y"),
        help="similarity, attention: pixel of the first image (default: its middle)",
    )  # fmt: skip
    parser.add_argument("--class-token", action="store_true", help="attention: of the class token, not of the point")
    parser.add_argument("--head", type=int, metavar="N", help="attention: one head (default: the mean of all)")
    parser.add_argument("--clusters", type=int, default=8, metavar="K", help="how many clusters (default: 8)")
    parser.add_argument("--page", action="store_true", help="also write the interactive page")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th frame of a video (default: 1)")
    parser.add_argument("--cell", type=int, default=320, metavar="PX", help="width of each picture (default: 320)")
    parser.add_argument("--device", default="auto", metavar="D", help='"auto" (default), "cpu", "cuda" or "cuda:N"')
    return parser


def draw(args: argparse.Namespace) -> int:
    """Draw all inputs."""
    from pe_dense.engine import setup_logging
    from pe_dense.prediction import EncoderView, FeatureDrawing, visualize_features

    setup_logging()
    if args.checkpoint is not None:
        view = EncoderView.from_checkpoint(args.checkpoint, args.short_side, args.device)
    else:
        view = EncoderView.from_tower(args.encoder, args.weights, args.short_side, args.random_weights, args.device)
    drawing = FeatureDrawing(
        kinds=args.show,
        layers=args.layers,
        fit=args.fit,
        masks=args.masks,
        point=tuple(args.point) if args.point else None,
        cls_attention=args.class_token,
        head=args.head,
        clusters=args.clusters,
        page=args.page,
        every=args.every,
        cell=args.cell,
    )
    written = visualize_features(view, args.inputs, args.output, drawing)
    if not written:
        sys.stderr.write("error: none of the inputs could be read\n")
        return 2
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    parser = make_parser()
    args = parser.parse_args()
    if args.checkpoint is not None and (args.weights is not None or args.random_weights):
        parser.error("--checkpoint brings its own weights: leave --weights and --random-weights out")
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: draw(args))


if __name__ == "__main__":
    sys.exit(main())
