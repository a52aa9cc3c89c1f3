"""Deformable attention against the form by ``grid_sample``: time, peak memory, and what it means for a detector."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from benchmarks.memory import peak_memory, report
from benchmarks.timing import interleaved, ratio_row
from torch import Tensor

from pe_dense.layers import deformable_attention as layer
from pe_dense.layers.deformable_attention import Shapes, deformable_attention
from pe_dense.modeling.backbone import pe_spatial_t16_512
from projects.deta import DetaPyramid, build_deta

HEADS, DIM, POINTS, LEVELS = 8, 32, 4, 5
AGAINST = "grid_sample on every level"


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the benchmark table, with one thread; ``quick`` takes a small image and leaves the detector out."""
    torch.set_num_threads(1)
    side, repeats = (256, 1) if quick else (1024, 5)
    rows = []
    for name, queries in (("encoder", None), ("decoder, 900 queries", 900)):
        inputs = make_inputs(side, queries)
        error = largest_difference(inputs)
        if max(error) > 1e-5:
            raise AssertionError(f"the two forms differ by {max(error):.2g}")
        for what, function in (("forward", forward), ("forward and backward", backward)):
            candidates = {
                "ours": partial(function, deformable_attention, inputs),
                "theirs": partial(function, by_grid_sample, inputs),
            }
            seconds = interleaved(candidates, repeats)
            rows.append(
                ratio_row(
                    f"deformable attention, {name}, {side} px, 5 levels: {what}", AGAINST,
                    seconds["ours"], seconds["theirs"], 1.3, note=f"largest relative difference {max(error):.0e}",
                )
            )  # fmt: skip
    for kind in ("forward", "backward"):
        ours, theirs = (peak_memory("deformable", form, kind, side)[0] for form in ("ours", "theirs"))
        what = f"deformable attention, encoder, {side} px, {kind}: memory beside the inputs"
        rows.append(ratio_row(what, AGAINST, ours, theirs, 2.0, "MiB"))
    return rows if quick else [*rows, detector(side)]


def detector(side: int) -> dict[str, Any]:
    """A whole DETA on PE-Spatial T, with either form."""
    torch.manual_seed(0)
    encoder = pe_spatial_t16_512(use_cls_token=False, window_size=32, global_blocks=(2, 5, 8, 11))
    model = build_deta(DetaPyramid(encoder), num_classes=80).eval()
    samples = [{"image": torch.randint(0, 256, (3, side, side), dtype=torch.uint8)}]

    def once(form: Any) -> None:
        with torch.no_grad(), patch.object(layer, "deformable_attention", form):
            model(samples)

    seconds = interleaved({"ours": partial(once, deformable_attention), "theirs": partial(once, by_grid_sample)}, 3)
    what = f"DETA on PE-Spatial T, {side} px, 900 queries: detections of an image"
    return ratio_row(what, f"the same with {AGAINST}", seconds["ours"], seconds["theirs"], 1.25)


Inputs = tuple[Tensor, list[tuple[int, int]], Tensor, Tensor]


def make_inputs(side: int, queries: int | None) -> Inputs:
    """Values, maps, positions and weights as of an image; ``None``: every cell is a query."""
    torch.manual_seed(0)
    shapes = [(-(-side // stride),) * 2 for stride in (8, 16, 32, 64, 128)]
    value = torch.randn(1, sum(h * w for h, w in shapes), HEADS, DIM)
    grids = [
        torch.stack(torch.meshgrid(*[(torch.arange(n) + 0.5) / n for n in shape[::-1]], indexing="xy"), -1)
        for shape in shapes
    ]
    centres = torch.cat([g.flatten(0, 1) for g in grids]) if queries is None else torch.rand(queries, 2)
    sizes = torch.tensor([[w, h] for h, w in shapes], dtype=torch.float32)
    offsets = 2 * torch.randn(1, len(centres), HEADS, LEVELS, POINTS, 2) / sizes[:, None]
    weights = torch.randn(1, len(centres), HEADS, LEVELS * POINTS).softmax(-1)
    return value, shapes, centres[:, None, None, None] + offsets, weights.unflatten(-1, (LEVELS, POINTS))


def by_grid_sample(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Deformable DETR's PyTorch form: sample every level, stack, weigh, sum."""
    batch, _, heads, dim = value.shape
    found = []
    for level, part in enumerate(value.split([h * w for h, w in shapes], dim=1)):
        maps = part.flatten(2).transpose(1, 2).reshape(batch * heads, dim, *shapes[level])
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        found.append(F.grid_sample(maps, grid, align_corners=False))
    by_head = weights.transpose(1, 2).reshape(batch * heads, 1, weights.shape[1], -1)
    out = (torch.stack(found, dim=-2).flatten(-2) * by_head).sum(-1)
    return out.view(batch, heads * dim, -1).transpose(1, 2)


@torch.no_grad()
def forward(form: Any, inputs: Inputs) -> Tensor:
    """The result."""
    out: Tensor = form(*inputs)
    return out


def backward(form: Any, inputs: Inputs) -> list[Tensor]:
    """The result, and the gradients of a function of it; those of positions are per cell."""
    value, shapes, locations, weights = inputs
    leaves = [t.detach().requires_grad_() for t in (value, locations, weights)]
    out = form(leaves[0], shapes, *leaves[1:])
    by_value, by_location, by_weight = torch.autograd.grad(out.sin().sum(), leaves)
    sizes = torch.tensor([[w, h] for h, w in shapes])[:, None]
    return [out, by_value, by_location / sizes, by_weight]


def largest_difference(inputs: Inputs) -> list[float]:
    """Of the values and of each gradient, as fractions of the largest: positions are rounded in units of maps."""
    pairs = zip(backward(deformable_attention, inputs), backward(by_grid_sample, inputs))
    return [float((a - b).detach().abs().max() / b.detach().abs().max()) for a, b in pairs]


def report_memory(form: str, kind: str, side: int) -> None:
    """Print what :func:`benchmarks.memory.peak_memory` reads."""
    torch.set_num_threads(1)
    work = partial(
        forward if kind == "forward" else backward, deformable_attention if form == "ours" else by_grid_sample
    )
    work(make_inputs(64, None))  # what the libraries set up once
    inputs = make_inputs(side, None)
    report(lambda: work(inputs))
