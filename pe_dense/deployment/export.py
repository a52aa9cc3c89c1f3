"""A graph as files that other programs run, each checked against the graph itself."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

from pe_dense.deployment.errors import ExportError
from pe_dense.deployment.facts import describe
from pe_dense.deployment.files import check_target, run_file, write_file
from pe_dense.deployment.graph import ExportGraph
from pe_dense.deployment.source import ExportSource

Precision = Literal["fp32", "fp16", "bf16"]
OPSETS = range(18, 24)  # of PyTorch's exporter
OPSET = 20  # the first with Gelu; from 23 on attention is one operator, which many runtimes do not have yet
TOLERANCE = 1e-4
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Difference:
    """How far an output of a file is from that of the model in float32.

    Attributes:
        largest: largest absolute difference; of class indices the share of those that differ.
        scale: largest absolute value of the model's output; 1 for class indices.
        shape: of the output.
    """

    largest: float
    scale: float
    shape: tuple[int, ...]

    @property
    def small(self) -> bool:
        """Whether the output is equal, for float32."""
        return self.largest <= TOLERANCE * max(1.0, self.scale)


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written and checked.

    Attributes:
        path: where it is.
        differences: of each output.
    """

    path: Path
    differences: dict[str, Difference]


def export_model(
    source: ExportSource,
    paths: Sequence[str | Path],
    image_size: tuple[int, int] | None = None,
    batch: int = 1,
    precision: Precision = "fp32",
    opset: int | None = None,
) -> list[ExportedFile]:
    """Write files for images of one size, run them on noise, and compare them with the model.

    A file takes its name only after it was checked; one that was there before is replaced.

    Args:
        source: what to export; its weights take the ``precision``.
        paths: ending in ``.onnx`` (ONNX; with more than 1.9 GB of weights these go into a second file, named
            ``.onnx.data``) or ``.pt2`` (:func:`torch.export.save`).
        image_size: (height, width) in pixels, multiples of the neck's ``size_divisibility``; ``None`` is what the
            model was made for.
        batch: images at a time.
        precision: of weights and computation. Inputs and outputs are the same for all.
        opset: version of the ONNX operators, 18 to 23; ``None`` is 20.

    Raises:
        ExportError: for a size, a path, a precision or an opset that cannot be, missing packages or disk space, or a
            file in float32 that differs by more than 1e-4 (times the largest value, if that is above 1).
    """
    targets = [Path(path) for path in paths]
    for target in targets:
        check_target(target, precision)
    if opset is not None and opset not in OPSETS:
        raise ExportError(f"opset {opset} is not one of {OPSETS[0]} to {OPSETS[-1]}: leave it out for {OPSET}")
    graph = source.graph
    _check_space(graph, targets, precision)
    image = _noise(graph, _checked_size(image_size or source.image_size, graph.size_divisibility), batch)
    with torch.no_grad():
        expected = graph(image)
        facts = describe(source, image, expected, precision)
        program = _program(graph, image, precision)
    _drop_unused(program)
    return [_write(program, target, image, expected, facts, opset or OPSET) for target in targets]


def _check_space(graph: ExportGraph, targets: Sequence[Path], precision: Precision) -> None:
    numbers = sum(parameter.numel() for parameter in graph.parameters())
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        needed, free = numbers * _DTYPES[precision].itemsize, shutil.disk_usage(target.parent).free
        if free < needed * len(targets):
            raise ExportError(
                f"{target} takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: make room on the disk"
            )


def _checked_size(size: tuple[int, int] | None, divisor: int) -> tuple[int, int]:
    if size is None:
        raise ExportError("this model takes images of any size, a file those of one: give an image size (--image-size)")
    if min(size) < 1 or any(side % divisor for side in size):
        near = " x ".join(str(max(1, round(side / divisor)) * divisor) for side in size)
        raise ExportError(
            f"image size {size[0]} x {size[1]} (height x width): both sides must be multiples of {divisor}; try {near}"
        )
    return size


def _noise(graph: ExportGraph, size: tuple[int, int], batch: int) -> Tensor:
    if batch < 1:
        raise ExportError(f"a batch of {batch} images cannot be: give 1 or more")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    return (pixels - graph.mean) / graph.std if graph.normalized else pixels


def _program(graph: ExportGraph, image: Tensor, precision: Precision) -> ExportedProgram:
    graph.to_precision(_DTYPES[precision])
    try:
        return torch.export.export(graph, (image,), strict=False)
    except RuntimeError as error:
        if precision == "fp32":
            raise
        raise ExportError(f"the model does not run in {precision} ({error}): take fp32") from error


def _drop_unused(program: ExportedProgram) -> None:
    """Take out weights that nothing reads: blocks behind the last one used, the pooling of Core towers."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name in names and not node.users:
            program.state_dict.pop(names[node.name], None)
            signature.input_specs[:] = [spec for spec in signature.input_specs if spec.arg.name != node.name]
            program.graph.erase_node(node)
    program.graph_module.recompile()


def _write(
    program: ExportedProgram,
    target: Path,
    image: Tensor,
    expected: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    opset: int,
) -> ExportedFile:
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        written = Path(folder) / target.name
        write_file(program, written, list(expected), facts, opset)
        differences = _compare(run_file(written, image), expected)
        far = next((name for name, found in differences.items() if not found.small), None)
        if far is not None and facts["precision"] == "fp32":
            raise ExportError(
                f"{target} is not written: its output {far} differs from the model's by {differences[far].largest:.2g}"
            )
        for file in sorted(Path(folder).iterdir(), reverse=True):  # the weights first
            os.replace(file, target.parent / file.name)
    return ExportedFile(target, differences)


def _compare(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Difference]:
    differences = {}
    for name, wanted in expected.items():
        value = found[name]
        if not wanted.is_floating_point():
            differences[name] = Difference(float((value != wanted).float().mean()), 1.0, tuple(wanted.shape))
            continue
        if not value.isfinite().all():
            raise ExportError(f"output {name} overflows in this precision: take bf16 or fp32")
        largest, scale = float((value - wanted).abs().max()), float(wanted.abs().max())
        differences[name] = Difference(largest, scale, tuple(wanted.shape))
    return differences
