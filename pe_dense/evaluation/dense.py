"""What the evaluators of depth and of semantic segmentation share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pe_dense.evaluation.evaluator import Evaluator


class DenseData(Protocol):
    """A data set whose image ids are 0 to N - 1."""

    def __len__(self) -> int: ...

    def file_name(self, index: int) -> str:
        """File name of an image."""


@dataclass(frozen=True)
class DenseComparison:
    """Ground truth and prediction of one image as they are compared.

    Attributes:
        truth: H x W; depth in metres, 0 where it does not count, or class indices, 255 where they do not count.
        prediction: H x W of the same kind.
        scores: the image's own numbers by name; empty if no pixel counts.
        error: what to sort by, higher is worse; NaN if no pixel counts.
    """

    truth: np.ndarray
    prediction: np.ndarray
    scores: dict[str, float]
    error: float


class DenseEvaluator(Evaluator, Protocol):
    """An evaluator of maps."""

    @property
    def dataset(self) -> DenseData:
        """The ground truth."""

    def compare(self, image_id: int, output: Mapping[str, Any]) -> DenseComparison:
        """One image as it is scored."""


def image_id_of(sample: Mapping[str, Any], dataset: DenseData) -> int:
    """The sample's image id.

    Raises:
        ValueError: if the data set has no such image.
    """
    image_id = int(sample["image_id"])
    if not 0 <= image_id < len(dataset):
        raise ValueError(
            f"image id {image_id} ({sample.get('file_name', 'no file name')}) is not in the evaluator's data set of "
            f"{len(dataset)} images; the loader and the evaluator must use the same data"
        )
    return image_id


def as_map(output: Mapping[str, Any], key: str, name: str) -> np.ndarray:
    """The H x W prediction ``key`` of an output, on the CPU.

    Raises:
        ValueError: if the model gives no such thing, or it has another number of dimensions.
    """
    if key not in output:
        raise ValueError(f'the model predicts {", ".join(sorted(output)) or "nothing"} for {name}, not "{key}"')
    values = output[key]
    if isinstance(values, Tensor):
        values = values.detach()
        values = (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()
    if values.ndim != 2:
        raise ValueError(f'the prediction "{key}" for {name} has shape {tuple(values.shape)}; it must be H x W')
    return np.asarray(values)
