"""What a file says about itself."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pe_dense import __version__
from pe_dense.deployment.errors import ExportError
from pe_dense.deployment.source import ExportSource

PREFIX = "pe_dense."
PROGRAM_ENTRY = "pe_dense.json"


def describe(source: ExportSource, image: Tensor, outputs: Mapping[str, Tensor], precision: str) -> dict[str, Any]:
    """Facts of a graph for images of one size; what they mean is in docs/export.md."""
    graph, pixels = source.graph, "RGB, 0..255"
    facts: dict[str, Any] = {
        "version": __version__,
        "torch": torch.__version__,
        "source": source.name,
        "model": graph.description,
        "precision": precision,
        "input": {
            "name": "image",
            "shape": list(image.shape),
            "dtype": _name(image.dtype),
            "values": f"(pixel - pixel_mean) / pixel_std of {pixels}" if graph.normalized else pixels,
            "pixel_mean": graph.pixel_mean,
            "pixel_std": graph.pixel_std,
        },
        "outputs": {name: _output(value, image) for name, value in outputs.items()},
    }
    if source.classes is not None:
        facts["classes"] = list(source.classes)
    return facts


def _output(value: Tensor, image: Tensor) -> dict[str, Any]:
    facts: dict[str, Any] = {"shape": list(value.shape), "dtype": _name(value.dtype)}
    if value.dim() == 4:  # of features; 3.5 pixels are the finest stride of 14-pixel patches
        facts |= {"channels": int(value.shape[1]), "stride": image.shape[-1] / value.shape[-1]}
    return facts


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def read_facts(path: str | Path) -> dict[str, Any]:
    """What an exported file says about itself.

    Args:
        path: a ``.onnx`` file, for which the package onnx is needed, or a ``.pt2`` file.

    Raises:
        FileNotFoundError: if there is no such file.
        ExportError: if it was not written by :func:`export_model`.
    """
    path = Path(path)
    try:
        found = _of_program(path) if zipfile.is_zipfile(path) else _of_onnx(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # protobuf's, of a file of any other kind
        raise ExportError(f"{path} cannot be read ({type(error).__name__}: {error}); export it again") from error
    if not found:
        raise ExportError(f"{path} says nothing about itself: it was not written by tools/export.py")
    return found


def _of_program(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        entry = next((name for name in archive.namelist() if name.endswith(f"/{PROGRAM_ENTRY}")), None)
        return {} if entry is None else json.loads(archive.read(entry))


def _of_onnx(path: Path) -> dict[str, Any]:
    import onnx

    properties = onnx.load(path, load_external_data=False).metadata_props
    return {p.key.removeprefix(PREFIX): json.loads(p.value) for p in properties if p.key.startswith(PREFIX)}
