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
  python tools/analyze_model.py --config-file output/x/config.yaml

The weights are random and the image is noise, so a detector is made to keep its full number of objects: the count of
its later stages is that of a crowded image.
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="F", help="a .py config, or a run's config.yaml")
    parser.add_argument(
        "--size", nargs=2, type=int, default=(1024, 1024), metavar=("H", "W"), help="input pixels (default: 1024 1024)"
    )
    parser.add_argument("--depth", type=int, default=2, metavar="N", help="levels of modules to list (default: 2)")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="set a config value, e.g. model.num_classes=20"
    )
    return parser.parse_intermixed_args()


def main() -> int:
    """Print the table; 0, or 2 after an error of the user's."""
    args = parse()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit")  # raised by importing fvcore
    import torch

    from pe_dense.config import instantiate, load_config
    from pe_dense.engine.analysis import analyze
    from pe_dense.engine.run import without_pretrained

    height, width = args.size
    try:
        cfg = load_config(args.config_file, args.overrides)
        torch.manual_seed(0)
        model = instantiate(without_pretrained(cfg).model)
        for module in model.modules():
            if hasattr(module, "test_score_thresh"):
                module.test_score_thresh = 0.0
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        analysis = analyze(model, [{"image": image, "height": height, "width": width, "image_id": 0}], args.depth)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    print_table(analysis, f"{args.config_file}, one image of {height} x {width}")
    return 0


def print_table(analysis: Any, title: str) -> None:
    """A rich table, and below it what the counts depend on."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("part", no_wrap=True)
    for name in ("parameters\nM", "trainable\nM", "\nGMACs", "\nGFLOPs", "\n% FLOPs", "activations\nM"):
        table.add_column(name, justify="right")
    total = max(analysis.parts[0].macs, 1)
    for part in analysis.parts:
        values = [part.parameters / 1e6, part.trainable / 1e6, part.macs / 1e9, part.flops / 1e9]
        numbers = [*(f"{v:,.2f}" for v in values), f"{100 * part.macs / total:.1f}", f"{part.activations / 1e6:,.2f}"]
        name = "  " * (part.depth - 1) + part.name.rpartition(".")[2] if part.name else "whole model"
        table.add_row(name, *numbers, style="bold" if not part.name else None, end_section=not part.name)
    console = Console()
    console.print(table)
    console.print("A multiply-add is one MAC and two FLOPs; norms, activation functions and selection are not counted.")
    objects = [len(output["instances"]) for output in analysis.outputs if "instances" in output]
    if objects:
        console.print(f"Counted with {sum(objects)} objects in the image.")
    if analysis.uncounted:
        console.print("Not counted: " + ", ".join(f"{name} ({n}x)" for name, n in analysis.uncounted.items()))


if __name__ == "__main__":
    sys.exit(main())
