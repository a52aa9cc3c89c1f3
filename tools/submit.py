#!/usr/bin/env python
"""Submit a training to SLURM: it survives pre-emption and time limits, and continues exactly."""

from __future__ import annotations

import argparse
import sys

EXAMPLES = """examples:
  python tools/submit.py --config-file F --nodes 8 --gpus-per-node 8 --partition gpu train.output_dir=/shared/run
  python tools/submit.py --config-file F --cluster mine --dry-run
  python tools/submit.py --config-file F --cluster mine --array train.seed=0,1,2 --array optimizer.lr=1e-4,2e-4
  python tools/submit.py --config-file F --local --tasks-per-node 2
Options can also be kept in ~/.config/pe_dense/cluster.yaml, see docs/slurm.md.
"""


def make_parser() -> argparse.ArgumentParser:
    from pe_dense.launch.options import add_flags

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="F", help="a .py config, or a run's config.yaml")
    parser.add_argument("--cluster", metavar="NAME", help="a cluster of ~/.config/pe_dense/cluster.yaml")
    parser.add_argument(
        "--array", action="append", default=[], metavar="KEY=V,V",
        help="one run per value, each in a folder of its own below train.output_dir; repeated: every combination",
    )  # fmt: skip
    parser.add_argument("--eval-only", action="store_true", help="evaluate and do not train")
    parser.add_argument("--checkpoint", metavar="C", help="with --eval-only: the checkpoint to evaluate")
    parser.add_argument("--local", action="store_true", help="the same on this machine, without SLURM")
    parser.add_argument("--dry-run", action="store_true", help="print the sbatch file and the config; submit nothing")
    add_flags(parser.add_argument_group("job options", "they override those of the cluster file"))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="set a config value, e.g. train.epochs=12")
    return parser


def submit(arguments: argparse.Namespace) -> int:
    from dataclasses import fields

    from pe_dense.config import format_config
    from pe_dense.launch.cluster_file import load_options
    from pe_dense.launch.options import JobOptions
    from pe_dense.launch.slurm import Request, make_plan
    from pe_dense.launch.slurm import submit as submit_plan

    names = {field.name for field in fields(JobOptions)}
    options = load_options(arguments.cluster, {k: v for k, v in vars(arguments).items() if k in names})
    request = Request(
        arguments.config_file, arguments.overrides, options, arguments.local, arguments.array, arguments.eval_only,
        arguments.checkpoint, arguments.cluster, sys.argv,
    )  # fmt: skip
    plan = make_plan(request)
    if arguments.dry_run:
        if not request.local:
            sys.stdout.write(plan.sbatch_text())
        for files, cfg in plan.runs:
            sys.stdout.write(f"\n# config of {files.run_dir}\n{format_config(cfg)}\n")
        return 0
    for (files, _), job in zip(plan.runs, submit_plan(plan)):
        sys.stdout.write(f"job {job.job_id}: {files.run_dir}, log {job.log(errors=True)}\n")
    return 0


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    arguments = make_parser().parse_intermixed_args()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: submit(arguments))


if __name__ == "__main__":
    sys.exit(main())
