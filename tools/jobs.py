#!/usr/bin/env python
"""Look after submitted jobs: list them, see how one is getting on, read its log, cancel it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples:
  python tools/jobs.py list output
  python tools/jobs.py status output/run
  python tools/jobs.py logs output/run --follow
  python tools/jobs.py logs output/run --rank 3 --lines 100
  python tools/jobs.py cancel output/run
"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    lists = commands.add_parser("list", help="a line for every run that was submitted")
    lists.add_argument(
        "folders", nargs="*", type=Path, default=[Path("output")], metavar="DIR",
        help="look at and below these folders (default: output)",
    )  # fmt: skip
    status = commands.add_parser("status", help="state, step, ETA, losses, nodes, slowest and stalled processes")
    status.add_argument("run", type=Path, nargs="+", metavar="RUN", help="run directory")
    logs = commands.add_parser("logs", help="the end of what a process printed")
    logs.add_argument("run", type=Path, metavar="RUN", help="run directory")
    logs.add_argument("--rank", type=int, default=0, metavar="R", help="of which process (default: 0)")
    logs.add_argument("--lines", type=int, default=30, metavar="N", help="how many lines (default: 30)")
    logs.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    cancel = commands.add_parser("cancel", help="end the job; a training saves itself first")
    cancel.add_argument("run", type=Path, nargs="+", metavar="RUN", help="run directory")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> int:
    from pe_dense.launch.run_log_tail import tail
    from pe_dense.launch.run_status import cancel, describe, find_runs, read_status, table

    if arguments.command == "list":
        sys.stdout.write(table([read_status(path) for path in find_runs(arguments.folders)]) + "\n")
    elif arguments.command == "status":
        sys.stdout.write("\n\n".join(describe(read_status(path)) for path in arguments.run) + "\n")
    elif arguments.command == "logs":
        for text in tail(arguments.run, arguments.rank, arguments.lines, arguments.follow):
            sys.stdout.write(text)
            sys.stdout.flush()
    else:
        for path in arguments.run:
            sys.stdout.write(f"cancelled job {cancel(path).job_id} of {path}\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    arguments = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
