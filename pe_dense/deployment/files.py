"""The formats: writing a program, and running the file that was written."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from pe_dense.deployment.errors import ExportError
from pe_dense.deployment.facts import PREFIX, PROGRAM_ENTRY

ONNX, PROGRAM = ".onnx", ".pt2"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MOST_IN_ONE_FILE = 1_900_000_000  # bytes; protobuf's limit is 2 GiB


def check_target(path: Path, precision: str) -> None:
    """Before anything is computed: can a file of this name be written?

    Raises:
        ExportError: for another ending, missing packages, or a precision that the format's runtime does not have.
    """
    if path.suffix not in (ONNX, PROGRAM):
        raise ExportError(f"{path} must end in {ONNX}, or {PROGRAM} for torch.export")
    if path.is_dir():
        raise ExportError(f"{path} is a folder: give the name of a file")
    if path.suffix == PROGRAM:
        return
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"{path} needs the packages {', '.join(missing)}: pip install {' '.join(missing)}")
    if precision == "bf16":
        raise ExportError(f"{path}: onnxruntime cannot run bf16 on a CPU, to check the file: take fp16, or {PROGRAM}")


def write_file(program: ExportedProgram, path: Path, names: list[str], facts: Mapping[str, Any], opset: int) -> None:
    """Write a program as the path's ending says.

    Args:
        program: takes ``image``, and gives a dict.
        path: beside a large ONNX file lies one of its weights, with ``.data`` added to the name.
        names: of the outputs, in order.
        facts: what the file says about itself.
        opset: version of the ONNX operators.
    """
    if path.suffix == PROGRAM:
        torch.export.save(program, path, extra_files={PROGRAM_ENTRY: json.dumps(facts, indent=2)})
        return
    converted = torch.onnx.export(
        program, dynamo=True, opset_version=opset, input_names=["image"], output_names=names, verbose=False
    )
    assert converted is not None
    for node in converted.model.graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # paths of this machine
    converted.model.metadata_props.update({PREFIX + key: json.dumps(value) for key, value in facts.items()})
    size = sum(value.nbytes for value in program.state_dict.values())
    converted.save(path, external_data=size > MOST_IN_ONE_FILE)


def run_file(path: Path, image: Tensor) -> dict[str, Tensor]:
    """What a written file computes, on the CPU with as many threads as PyTorch.

    Args:
        path: of the file.
        image: of the shape and type that it was written for.
    """
    if path.suffix == PROGRAM:
        with torch.no_grad():
            found: dict[str, Tensor] = torch.export.load(path).module()(image)
        return found
    session = onnx_session(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(names, {"image": image.numpy()}))))


def onnx_session(path: Path) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU with as many threads as PyTorch.

    Raises:
        ExportError: if it cannot run the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds share no other class
        raise ExportError(
            f"onnxruntime cannot run {path.name} ({error}); take {PROGRAM}, or another opset; a neck that computes in "
            f"bfloat16 has to compute in float32 (model.backbone.bf16=false)"
        ) from error
