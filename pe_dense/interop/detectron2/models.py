"""Our models where detectron2's trainers, evaluators and visualisers expect theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from detectron2.structures import Instances as TheirInstances
from torch import Tensor, nn

from pe_dense.interop.detectron2.state_names import convert_state
from pe_dense.interop.detectron2.structures import from_detectron2, to_detectron2
from pe_dense.modeling.backbone.dense_model import DenseModel
from pe_dense.structures import Instances


class AdaptedModel(nn.Module):
    """A model of ours that takes and gives what detectron2's do.

    Batches come from detectron2's loaders, or from ours (``cfg.dataloader.train.iterate()``, with
    ``input_format="RGB"``). Checkpoints of it are those of ``model``: its names, no prefix.

    Args:
        model: a detector, or any other model of pe_dense; what it predicts besides ``instances`` is given out as it is.
        input_format: order of the images' channels: ``DatasetMapper``'s ``image_format``, in detectron2 BGR unless set.
            Our models take RGB.
    """

    def __init__(self, model: DenseModel, input_format: Literal["BGR", "RGB"] = "BGR") -> None:
        super().__init__()
        if input_format not in ("BGR", "RGB"):
            raise ValueError(
                f"input_format {input_format!r}: choose 'BGR' or 'RGB', as the data loader gives the images"
            )
        self.model = model
        self.input_format = input_format
        convert_state(
            self,
            write=lambda name, value: (name.removeprefix("model."), value),
            read=lambda name, value: (f"model.{name}", value),
        )

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.model.device

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch.

        Args:
            batched_inputs: dicts with ``image`` (3 x H x W uint8), in training mode ``instances`` (detectron2's or
                ours) or the labels of the model's task, in eval mode ``height`` and ``width`` of the original.

        Returns:
            in training mode the losses, else one dict per input, with ``instances`` of detectron2.
        """
        outputs = self.model([self._sample(inputs) for inputs in batched_inputs])
        return outputs if self.training else [_predictions(output) for output in outputs]

    def _sample(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        sample = dict(inputs)
        if self.input_format == "BGR":
            sample["image"] = sample["image"].flip(0)
        if isinstance(sample.get("instances"), TheirInstances):
            sample["instances"] = _targets(sample["instances"])
        return sample


def _targets(instances: TheirInstances) -> Instances:
    """Where no object is left, detectron2's mapper gives no masks either; a model that learns masks asks for them."""
    targets = from_detectron2(instances)
    if not len(targets) and targets.masks is None:
        targets.masks = torch.zeros(0, *targets.image_size, dtype=torch.bool, device=targets.boxes.device)
    return targets


def _predictions(output: Mapping[str, Any]) -> dict[str, Any]:
    return {key: to_detectron2(value) if isinstance(value, Instances) else value for key, value in output.items()}
