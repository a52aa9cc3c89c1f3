"""Propagation of masks within neighbourhoods against the dense affinity of all tokens, time and memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.memory import peak_memory, report
from benchmarks.timing import interleaved, ratio_row
from torch import Tensor

from pe_dense.modeling.tracking import LabelPropagation, propagate

CHANNELS, OBJECTS, FRAMES = 768, 3, 8
GRIDS = {480: (30, 52), 960: (60, 107)}  # of 480 x 854 by DINO's and DINOv3's rule, patches of 16
LIMIT_MIB = 4096.0


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the benchmark table, with one thread; ``quick`` measures few repeats and leaves the large grid out."""
    torch.set_num_threads(1)
    settings, inputs = LabelPropagation.dino(), make_inputs(*GRIDS[480])
    ours, dense = propagate(*inputs, settings), propagate_densely(*inputs, settings)
    error = float((ours - dense).abs().max())
    if error > 2e-5:
        raise AssertionError(f"the dense and the local propagation differ by {error:.2g}")
    candidates = {
        "ours": partial(propagate, *inputs, settings),
        "dense": partial(propagate_densely, *inputs, settings),
    }
    seconds = interleaved(candidates, 1 if quick else 7)
    what = f"propagate {OBJECTS} objects from {FRAMES} frames, {CHANNELS} channels"
    rows = [
        ratio_row(
            f"{what}, 480 px", "the dense affinity", seconds["ours"], seconds["dense"], 1.0,
            note=f"largest difference {error:.0e}",
        )
    ]  # fmt: skip
    for side in (480,) if quick else (480, 960):
        ours_mib, dense_mib = (peak_memory("propagation", kind, side)[0] for kind in ("ours", "dense"))
        rows.append(
            ratio_row(
                f"{what}, {side} px: memory beside the features", "the dense affinity", ours_mib, dense_mib, 3.0, "MiB"
            )
        )
    if not quick:
        total = peak_memory("propagation", "ours", 960)[1]
        rows.append(
            ratio_row(f"{what}, 960 px: the whole process", "4 GiB", total, LIMIT_MIB, 1.0, "MiB")
        )  # fmt: skip
    return rows


def make_inputs(height: int, width: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Tokens of a frame, and tokens and soft labels of frames before it, which resemble it."""
    torch.manual_seed(0)
    scene = torch.randn(height, width, CHANNELS)
    tokens = [torch.randn_like(scene).add_(scene) for _ in range(FRAMES + 1)]
    for frame in tokens:
        frame.div_(frame.norm(dim=-1, keepdim=True))
    labels = [torch.rand(height, width, OBJECTS + 1) for _ in range(FRAMES)]
    return tokens[0], tokens[1:], labels


def propagate_densely(
    target: Tensor, sources: list[Tensor], labels: list[Tensor], settings: LabelPropagation
) -> Tensor:
    """The same by the full matrix of sources x targets, worked on in place as far as the operations allow."""
    height, width = target.shape[:2]
    rows, columns = (
        axis.flatten() for axis in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    down, across = ((axis[:, None] - axis).abs() for axis in (rows, columns))
    far = torch.maximum(down, across) > settings.radius
    affinity = torch.stack(sources).flatten(1, 2) @ target.flatten(0, 1).T
    affinity = affinity.div_(settings.temperature).exp_().masked_fill_(far, 0).flatten(0, 1)
    least = affinity.topk(settings.topk, dim=0).values[-1]
    affinity.masked_fill_(affinity < least, 0)
    affinity /= affinity.sum(0, keepdim=True)
    given = torch.stack(labels).flatten(0, 2)
    return F.linear(affinity.T, given.T).unflatten(0, (height, width))


def report_memory(kind: str, side: int) -> None:
    """Print what :func:`benchmarks.memory.peak_memory` reads."""
    torch.set_num_threads(1)
    function = propagate if kind == "ours" else propagate_densely
    function(*make_inputs(13, 13), LabelPropagation.dino())  # what the libraries set up once
    inputs = make_inputs(*GRIDS[side])
    report(lambda: function(*inputs, LabelPropagation.dino()))
