#!/usr/bin/env python
"""Memory, communication and time of a training run, estimated before it starts and without GPU, data or weights."""

from __future__ import annotations

import argparse
import sys
import warnings
from itertools import takewhile
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  python tools/plan_run.py --config-file configs/coco/mask_rcnn_pe_spatial_g14_36ep.py \\
      --gpu h100 --nodes 8 --gpus-per-node 8 --images 118287
  python tools/plan_run.py --config-file configs/coco/mask_rcnn_pe_spatial_l14_36ep.py \\
      --gpu a100-40 --world-size 4 --parallel fsdp --images 118287 dataloader.train.batch_size=16
  python tools/plan_run.py --config-file configs/coco/mask_rcnn_pe_spatial_t16_36ep.py \\
      --config-file configs/coco/mask_rcnn_pe_spatial_b16_36ep.py --gpu a100-80 --world-size 8 --images 118287

Bytes and FLOPs are counted by running one training step on shapes alone. Time is FLOPs divided by an assumed
share of the GPU's peak (--mfu): expect its order, not its digits.
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, action="append", metavar="F",
        help="a .py config, or a run's config.yaml; given several times, a table with one line each")  # fmt: skip
    add("--gpu", required=True, help="kind of GPU: h200, h100, a100-80, a100-40, l40s, v100 or rtx4090")
    add("--nodes", type=int, metavar="N", help="machines (default: 1)")
    add("--gpus-per-node", type=int, metavar="N", help="GPUs of each (default: 1)")
    add("--world-size", type=int, metavar="N", help="all GPUs, instead of these two: in nodes of up to 8")
    add("--parallel", choices=("ddp", "fsdp"), help="short for train.parallel=...")
    add("--size", nargs=2, type=int, metavar=("H", "W"), help="pixels of the padded batch (default: data.image_size)")
    add("--objects", type=int, default=100, metavar="N", help="objects in each image (default: 100, a crowded one)")
    add("--images", type=int, metavar="N", help="size of the training set (default: counted, if its files are here)")
    add("--mfu", type=float, default=0.35, metavar="X", help="assumed share of the GPU's peak (default: 0.35)")
    add("--reserve-gib", type=float, default=3.0, metavar="X",
        help="assumed for CUDA, NCCL, workspaces and fragmentation (default: 3)")  # fmt: skip
    add("overrides", nargs="*", metavar="key=value", help="set a config value, e.g. model.num_classes=20")
    args = parser.parse_intermixed_args()
    if args.world_size is not None and (args.nodes, args.gpus_per_node) != (None, None):
        parser.error("--world-size stands for --nodes and --gpus-per-node: give one or the other")
    if args.world_size is not None and args.world_size > 8 and args.world_size % 8:
        parser.error(f"--world-size {args.world_size} does not fill nodes of 8: give --nodes and --gpus-per-node")
    for name in ("nodes", "gpus_per_node", "world_size", "size", "objects", "images"):
        value = getattr(args, name)
        if value is not None and min(value if isinstance(value, list) else [value]) < 1:
            parser.error(f"--{name.replace('_', '-')} must be positive")
    return args


def plan_runs(args: argparse.Namespace) -> int:
    """Plan, and print."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit")  # raised by importing fvcore
    from pe_dense.config import load_config
    from pe_dense.engine.planning import make_plan

    setup, plans = setup_of(args), []
    if args.parallel:
        args.overrides.append(f"train.parallel={args.parallel}")
    for path in args.config_file:
        cfg = load_config(path, args.overrides)
        plans.append(make_plan(cfg, setup, args.size and tuple(args.size), args.objects, args.images))
    if len(plans) == 1:
        print_plan(plans[0], args.config_file[0])
    else:
        print_sizing(plans, args.config_file)
    return 0


def setup_of(args: argparse.Namespace) -> Any:
    """The cluster of the command line."""
    from pe_dense.engine.hardware import Setup, find_gpu

    nodes, per_node = args.nodes or 1, args.gpus_per_node or 1
    if args.world_size is not None:
        nodes, per_node = max(1, args.world_size // 8), min(args.world_size, 8)
    return Setup(find_gpu(args.gpu), nodes, per_node, args.mfu, args.reserve_gib * 2**30)


def print_plan(plan: Any, path: str) -> None:
    """Everything about one run, each number with its formula."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"[bold]{path}[/]", place(plan), sep="\n")
    console.print(parameter_table(plan.needs))
    console.print(memory_table(plan))
    console.print(step_table(plan))
    print_notes(console, plan)


def place(plan: Any) -> str:
    """Where, and how spread."""
    setup, settings = plan.setup, plan.settings
    return f"{setup.nodes} x {setup.per_node} {setup.gpu.title}, {settings.parallel.upper()}, {settings.precision}"


def new_table(title: str, first: str) -> Any:
    """In the style of the other tools."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    return table


def parameter_table(needs: Any) -> Any:
    """Parameters of the model's parts, two levels deep."""
    table = new_table("Parameters", "part")
    table.add_column("total M", justify="right")
    table.add_column("trained M", justify="right")
    for part in needs.parts:
        name = "  " * (part.depth - 1) + part.name.rpartition(".")[2] if part.name else "whole model"
        if part.parameters:
            numbers = [f"{n / 1e6:,.2f}" for n in (part.parameters, part.trainable)]
            table.add_row(name, *numbers, style=None if part.name else "bold", end_section=not part.name)
    return table


def memory_table(plan: Any) -> Any:
    """Bytes by part, for every choice of which blocks are recomputed side by side."""
    from pe_dense.engine.planning import memory

    needs = plan.needs
    table = new_table("Memory of each GPU, GiB", "blocks recomputed:")
    for every in needs.steps:
        name = {0: "none", 1: "all", 2: "half"}.get(every, f"1 in {every}")
        table.add_column(name + (" <" if every == needs.configured else ""), justify="right", no_wrap=True)
    table.add_column("formula")
    columns = [memory(needs, step, plan.settings, plan.setup) for step in needs.steps.values()]
    names = list(dict.fromkeys(row.name for rows in columns for row in rows))
    order = max(columns, key=len)
    names.sort(key=[row.name for row in order].index)
    formulas = {row.name: row.formula for row in order}
    for name in names:
        values = [next((row.value for row in rows if row.name == name), 0.0) for rows in columns]
        table.add_row(name, *(f"{v / 2**30:.2f}" for v in values), f"[dim]{formulas[name]}[/]")
    totals = [sum(row.value for row in rows) for rows in columns]
    table.add_section()
    table.add_row("total", *(f"{v / 2**30:.2f}" for v in totals), "", style="bold")
    free = [plan.setup.gpu.memory - v for v in totals]
    verdict = [f"{v / 2**30:.2f}" if v >= 0 else f"[red]{v / 2**30:.2f}[/]" for v in free]
    table.add_row("left", *verdict, f"[dim]of {plan.setup.gpu.memory / 2**30:.1f} GiB; below 0: does not fit[/]")
    return table


def step_table(plan: Any) -> Any:
    """Arithmetic, communication and time."""
    from pe_dense.engine.planning import communication, step_times

    needs, setup, settings = plan.needs, plan.setup, plan.settings
    table = new_table("A step, and the run", "")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("formula")
    add = lambda name, value, formula: table.add_row(name, value, f"[dim]{formula}[/]")
    shared = f"batch {plan.batch_size} / {setup.world} GPUs"
    parts = f", in {settings.accumulate} parts" if settings.accumulate > 1 else ""
    add("images per GPU", f"{plan.batch_size // setup.world}", shared + parts)
    image = lambda flops: f"{flops / needs.images / 1e12:.3f} TFLOP"
    once = needs.chosen.backward - needs.steps[0].backward
    add("forward, per image", image(needs.chosen.forward), "matrix products, convolutions, attention *")
    add("backward, per image", image(needs.steps[0].backward), "about 2 x forward of what is trained *")
    add("recomputed, per image", image(once), "forward of the recomputed blocks *")
    for row in communication(needs, settings, setup):
        add(row.name, f"{row.value / 1e9:.2f} GB", row.formula)
    times = step_times(needs, settings, setup)
    for row in times:
        add(row.name, f"{row.value:.3f} s", row.formula)
    epochs = "" if plan.images is None else f", {plan.steps * plan.batch_size / plan.images:.4g} epochs"
    add("steps", f"{plan.steps:,}", f"train.{'steps' if settings.steps else 'epochs'}{epochs}")
    add("images/s", f"{plan.batch_size / times[-1].value:,.1f}", "batch / step")
    total = plan.steps * times[-1].value
    add("training", f"{total / 3600:,.1f} h", f"steps x step; {total * setup.world / 3600:,.0f} GPU hours")
    return table


def print_notes(console: Any, plan: Any) -> None:
    """What the letters mean and what is assumed."""
    setup, precision = plan.setup, plan.settings.precision
    units = ", u of the largest FSDP unit, rest: in no unit" if plan.settings.parallel == "fsdp" else ""
    height, width = plan.size
    console.print(f"P parameters, T trained ones{units}; n = {setup.world}; < as configured.", soft_wrap=False)
    console.print(f"* counted by running a step on shapes: {height} x {width} px, not measured on a GPU.")
    console.print(
        f"Assumed: MFU {setup.utilization:g} of {setup.peak(precision) / 1e12:,.0f} TFLOP/s, "
        f"{setup.bandwidth / 1e9:g} GB/s each way and GPU {'between nodes' if setup.nodes > 1 else 'within the node'}, "
        f"data always ready; evaluation and checkpoints not included. GPU: {setup.gpu.source}"
    )


def print_sizing(plans: list[Any], paths: list[str]) -> None:
    """One line a config."""
    from rich.console import Console

    from pe_dense.engine.planning import memory, step_times

    names = [Path(path).stem for path in paths]
    same = takewhile(lambda words: len(set(words)) == 1, zip(*(name.split("_") for name in names)))
    common = "".join(f"{words[0]}_" for words in same)
    table = new_table(place(plans[0]), f"\n\n{common}...")
    heads = [
        "params\nM", "images\na GPU", "TFLOP\nan image", "GiB, re-\ncomputed:\nnone", "half", "all", "step\ns", "run\nh"
    ]  # fmt: skip
    for head in heads:
        table.add_column("\n" * (2 - head.count("\n")) + head, justify="right", no_wrap=True)
    for plan, name in zip(plans, names):
        needs, step = plan.needs, step_times(plan.needs, plan.settings, plan.setup)[-1].value
        rows = {every: memory(needs, cost, plan.settings, plan.setup) for every, cost in needs.steps.items()}
        total = {every: f"{sum(row.value for row in found) / 2**30:.1f}" for every, found in rows.items()}
        work = (needs.chosen.forward + needs.chosen.backward) / needs.images / 1e12
        table.add_row(
            name.removeprefix(common), f"{needs.parts[0].parameters / 1e6:,.1f}",
            str(plan.batch_size // plan.setup.world), f"{work:.2f}", *(total.get(every, "-") for every in (0, 2, 1)),
            f"{step:.3f}", f"{plan.steps * step / 3600:,.1f}",
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"GiB: memory per GPU by how many blocks are recomputed; TFLOP and step as configured, MFU "
        f"{plans[0].setup.utilization:g} assumed. Give one config to see how each number comes about."
    )


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: plan_runs(args))


if __name__ == "__main__":
    sys.exit(main())
