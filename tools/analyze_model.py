#!/usr/bin/env python
"""Count a model's parameters, multiply-adds (MACs; FLOPs = 2 x MACs) and activations, part by part."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

EXAMPLES = """examples:
  python tools/analyze_model.py --config-file configs/coco/mask_rcnn_pe_spatial_b16_36ep.py
  python tools/analyze_model.py --config-file configs/coco/mask_rcnn_pe_spatial_b16_36ep.py --size 800 1216 --depth 3 \\
      model.num_classes=20
  python tools/analyze_model.py --config-file configs/demo/mask_rcnn_scenes.py model.num_classes=5
  python tools/analyze_model.py --config-file output/x/config.yaml

The weights are random and the image is noise, so a detector is made to keep its full number of objects: the count of
its later stages is that of a crowded image.
"""


DEFAULT_SIZE = (1024, 1024)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="F", help="a .py config, or a run's config.yaml")
    parser.add_argument(
        "--size", nargs=2, type=int, metavar=("H", "W"),
        help="input pixels (default: what the config's test transforms make of a square image, 1024 1024 without them)",
    )  # fmt: skip
    parser.add_argument("--depth", type=int, default=2, metavar="N", help="levels of modules to list (default: 2)")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="set a config value, e.g. model.num_classes=20"
    )
    args = parser.parse_intermixed_args()
    if args.depth < 1 or (args.size and min(args.size) < 1):
        parser.error("--size and --depth must be positive")
    return args


def analyze_config(args: argparse.Namespace) -> int:
    """Count, and print the table."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit")  # raised by importing fvcore
    import torch

    from pe_dense.config import instantiate, load_config, validate
    from pe_dense.engine.analysis import analyze
    from pe_dense.engine.run import without_pretrained

    cfg = load_config(args.config_file, args.overrides, allow_unset=True)
    validate(cfg.model)  # the rest, such as the place of the data, need not be set
    height, width = args.size or test_size(cfg)
    torch.manual_seed(0)
    model = instantiate(without_pretrained(cfg).model)
    for module in model.modules():
        if hasattr(module, "test_score_thresh"):
            module.test_score_thresh = 0.0
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    analysis = analyze(model, [{"image": image, "height": height, "width": width, "image_id": 0}], args.depth)
    print_table(analysis, f"{args.config_file}, one image of {height} x {width}")
    return 0


def test_size(cfg: Any) -> tuple[int, int]:
    """(height, width) that the config's test transforms give a square image."""
    import torch
    from omegaconf import OmegaConf

    from pe_dense.config import instantiate
    from pe_dense.data import transform_image

    transforms = OmegaConf.select(cfg, "dataloader.test.transforms")
    square = torch.zeros(3, *DEFAULT_SIZE, dtype=torch.uint8)
    _, height, width = transform_image(square, instantiate(transforms) if transforms else ()).shape
    return height, width


def print_table(analysis: Any, title: str) -> None:
    """A rich table under a title, and below it what the counts depend on."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("part", no_wrap=True)
    for name in ("params\nM", "trainable\nM", "\nGMACs", "\nGFLOPs", "% of\nFLOPs", "activ.\nM"):
        table.add_column(name, justify="right", no_wrap=True)
    total = max(analysis.parts[0].macs, 1)
    for part in analysis.parts:
        values = [part.parameters / 1e6, part.trainable / 1e6, part.macs / 1e9, part.flops / 1e9]
        numbers = [*map(short, values), f"{100 * part.macs / total:.1f}", short(part.activations / 1e6)]
        name = "  " * (part.depth - 1) + part.name.rpartition(".")[2] if part.name else "whole model"
        table.add_row(name, *numbers, style="bold" if not part.name else None, end_section=not part.name)
    console = Console()
    console.print(title, highlight=False, soft_wrap=True)
    console.print(table)
    console.print("A multiply-add is one MAC and two FLOPs; norms, activation functions and selection are not counted.")
    objects = [len(output["instances"]) for output in analysis.outputs if "instances" in output]
    if objects:
        console.print(f"Counted with {sum(objects)} objects in the image.")
    if analysis.uncounted:
        console.print("Not counted: " + ", ".join(f"{name} ({n}x)" for name, n in analysis.uncounted.items()))


def short(number: float) -> str:
    """About four digits, so that the table fits into 80 columns."""
    return f"{number:,.{2 if number < 100 else 1 if number < 1000 else 0}f}"


def main() -> int:
    """Exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    args = parse()
    from pe_dense.launch.tool import run_tool

    return run_tool(lambda: analyze_config(args))


if __name__ == "__main__":
    sys.exit(main())
