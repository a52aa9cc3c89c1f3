"""Write the embedded data set: small textured scenes with boxes, masks, depth, semantic labels and videos."""

from __future__ import annotations

import argparse
from pathlib import Path

from pe_dense.data.scenes import write_scenes


def main() -> None:
    """Parse the command line and write the data set."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example:  python tools/make_scenes.py --output datasets/scenes --train 400 --val 100",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    parser.add_argument("--train", type=int, default=400, help="training images")
    parser.add_argument("--val", type=int, default=100, help="validation images")
    parser.add_argument("--size", type=int, default=192, help="height and width of the images in pixels")
    parser.add_argument("--videos", type=int, default=4, help="videos of 24 frames")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes")
    parser.add_argument("--processes", type=int, default=1, help="worker processes; does not change the result")
    args = parser.parse_args()
    try:
        paths = write_scenes(**vars(args))
    except ValueError as error:
        parser.error(str(error))
    print(f"wrote {args.train} + {args.val} images and {args.videos} videos below {paths.root}")
    print(f"training json: {paths.train_json}\nvalidation json: {paths.val_json}")


if __name__ == "__main__":
    main()
