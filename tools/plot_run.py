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


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="run directories with metrics.jsonl")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="picture: .png, .pdf or .svg")
    parser.add_argument("--smoothing", type=int, default=25, metavar="N", help="records in the mean (default: 25)")
    return parser.parse_args()


def plot(args: argparse.Namespace) -> int:
    """Write the picture."""
    from pe_dense.visualization import plot_run

    sys.stdout.write(f"{plot_run(args.runs, args.output, args.smoothing)}\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: plot(args))


if __name__ == "__main__":
    sys.exit(main())
