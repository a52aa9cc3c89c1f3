#!/usr/bin/env python
"""Plot loss, average precision, learning rate and speed of one or several runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/plot_run.py output/x --output curves.png
  python tools/plot_run.py output/x output/y --output comparison.pdf
"""


def main() -> int:
    """Parse the command line and write the picture; 0, or 2 after an error of the user's."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="run directories with metrics.jsonl")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="picture: .png, .pdf or .svg")
    parser.add_argument("--smoothing", type=int, default=25, metavar="N", help="records in the mean (default: 25)")
    args = parser.parse_args()
    from pe_dense.visualization import plot_run

    try:
        plot_run(args.runs, args.output, args.smoothing)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{args.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
