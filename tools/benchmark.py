"""Measure speed and memory against well-known implementations doing the same job.

Every ratio is taken within one run, from medians of interleaved repeats; above 1 is better than the other side.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

SECTIONS = (
    "backbone", "heads", "dense", "probe", "deformable", "detection", "data", "evaluation", "vos", "tracking",
    "association", "propagation", "parallel", "loading", "export",
)  # fmt: skip
# Page faults of freshly mapped memory dominate timings on small machines; these keep memory with the process.
STEADY = {"KINETO_LOG_LEVEL": "5", "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python tools/benchmark.py --sections backbone data --output output/benchmark.json",
    )
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="what to measure")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repeats: a trial, not a result")
    parser.add_argument("--output", type=Path, help="also write the rows as JSON to this file")
    return parser.parse_args()


def as_table(rows: list[dict[str, Any]]) -> Table:
    """One row a measurement, narrow enough for 80 columns."""
    table = Table("what", "ours", "theirs", "ratio", "target", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for row in rows:
        what = f"{row['what']}\n[dim]against {row['against']}[/]"
        if row["note"]:
            what += f"\n[dim]{row['note']}[/]"
        numbers = [f"{row[k]:.4g} {row['unit']}" for k in ("ours", "theirs")]
        target = "-" if row["target"] is None else f"{row['target']:.2f}"
        table.add_row(what, *numbers, f"{row['ratio']:.2f}", target)
    return table


def main() -> None:
    args = parse()
    if any(os.environ.get(k) != v for k, v in STEADY.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **STEADY})
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name in args.sections:
        for row in importlib.import_module(f"benchmarks.{name}").run(args.quick):
            rows.append(row)
            print(f"{row['ratio']:.2f} x  {row['what']}", file=sys.stderr, flush=True)
            if args.output:
                args.output.write_text(json.dumps(rows, indent=2) + "\n")
    Console().print(as_table(rows))
    if args.output:
        print(f"rows written to {args.output}")


if __name__ == "__main__":
    main()
