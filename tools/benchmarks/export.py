"""Exported files against the model that they were made of: backbone and pyramid, one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from benchmarks.timing import Row, interleaved, ratio_row

from pe_dense.deployment import ExportGraph, ExportSource, export_model
from pe_dense.deployment.files import onnx_session
from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder, pe_spatial_b16_512, pe_spatial_t16_512

GLOBAL_BLOCKS = (2, 5, 8, 11)
Build = Callable[..., PerceptionEncoder]


def against_eager(build: Build, side: int, repeats: int) -> Iterator[Row]:
    """ONNX in onnxruntime and the exported program, beside the model; 4 windows, as in the recipes."""
    torch.manual_seed(0)
    encoder = build(use_cls_token=False, window_size=side // 32, global_blocks=GLOBAL_BLOCKS, abs_pos="tile")
    graph = ExportGraph(FeaturePyramid(encoder))
    image = torch.randint(256, (1, 3, side, side), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        paths = [Path(folder) / "pyramid.onnx", Path(folder) / "pyramid.pt2"]
        written = export_model(ExportSource(graph), paths, (side, side))
        session, program = onnx_session(paths[0]), torch.export.load(paths[1]).module()
        seconds = interleaved(
            {
                "onnx": lambda: session.run(None, {"image": image.numpy()}),
                "program": lambda: program(image),
                "eager": lambda: graph(image),
            },
            repeats,
        )
    for (key, what), file in zip({"onnx": "ONNX, onnxruntime", "program": "torch.export"}.items(), written):
        yield ratio_row(
            f"{build.__name__} and pyramid, {side} px, {what}", "the same in PyTorch, eager",
            seconds[key], seconds["eager"], target=1.0,
            note=f"largest difference {max(found.largest for found in file.differences.values()):.1e}",
        )  # fmt: skip


def run(quick: bool) -> Iterator[Row]:
    """All rows; ``quick`` takes PE-Spatial T at 512 pixels only."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cases = [(pe_spatial_t16_512, 512), (pe_spatial_t16_512, 1024), (pe_spatial_b16_512, 512)]
    try:
        for build, side in cases[: 1 if quick else None]:
            yield from against_eager(build, side, repeats=3 if quick else 7)
    finally:
        torch.set_num_threads(threads)
