"""What all models that find objects share: labels, and how they look at an image at test time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pe_dense.modeling.backbone.dense_model import DenseModel, Sample
from pe_dense.modeling.detection.tta import DetectionTTA


class Detector(DenseModel):
    """A model whose predictions are ``{"instances": Instances}``.

    Args:
        backbone, pixel_mean, pixel_std, square_size: see :class:`DenseModel`.
        tta: at which sizes, and how, an image is looked at in eval mode; ``None``: once, as it is given.
    """

    labels = ("instances",)

    def __init__(
        self,
        backbone: nn.Module,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        square_size: int | None = None,
        tta: DetectionTTA | None = None,
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std, square_size)
        self.tta = tta

    @property
    def predicts_masks(self) -> bool | None:
        """Whether the instances have masks; ``None``: not known before it predicts."""
        return None

    @property
    def sees_images_once(self) -> bool:
        """Whether there is no test-time augmentation."""
        return self.tta is None

    def forward(self, samples: Sequence[Sample]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch; in eval mode as :class:`DetectionTTA` says.

        Args:
            samples: see :meth:`DenseModel.forward`.
        """
        if self.training or self.tta is None:
            return super().forward(samples)
        return self.tta(super().forward, samples)
