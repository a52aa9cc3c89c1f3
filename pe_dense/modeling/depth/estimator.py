"""The depth estimator: backbone, head and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.modeling.backbone.dense_model import DenseModel, Sample, original_sizes, sample_name
from pe_dense.modeling.backbone.features import covered_size

DepthOutput = Literal["metric", "relative_depth", "relative_disparity"]


class DepthEstimator(DenseModel):
    """Depth of every pixel.

    Args:
        backbone: neck with its encoder, see :class:`DenseModel`.
        head: maps the neck's output to B x 1 x h x w that cover the padded batch.
        losses: name to a loss of prediction, truth and where the truth is known (B x 1 x H x W each), at the
            resolution of the padded batch.
        min_depth: metres; metric predictions are at least this.
        max_depth: metres; metric predictions are at most this, and truth beyond it is unknown.
        output: what the head gives: "metric": metres; "relative_depth" or "relative_disparity" (1 / depth, larger is
            nearer): without unit, up to a scale and a shift per image; for :class:`ScaleShiftInvariantLoss`.
        flip_test: at test time, average with the prediction for the mirrored image. Only in a call of the model itself:
            :meth:`from_features` has no image to mirror.
        pixel_mean: per channel (RGB), subtracted from 0..255 pixels.
        pixel_std: per channel, divides the result.
        square_size: if set, batches are padded to at least this many pixels on both sides.

    Raises:
        ValueError: for an empty range of depths, an unknown output, or no losses.
    """

    labels = ("depth",)

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        losses: Mapping[str, nn.Module],
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        output: DepthOutput = "metric",
        flip_test: bool = False,
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        square_size: int | None = None,
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std, square_size)
        if not 0 < min_depth < max_depth:
            raise ValueError(f"min_depth {min_depth} must be above 0 and below max_depth {max_depth}")
        if output not in ("metric", "relative_depth", "relative_disparity"):
            raise ValueError(f'output "{output}" is unknown: choose metric, relative_depth or relative_disparity')
        if not losses:
            raise ValueError("losses is empty: name at least one, such as loss_sig=SigLoss()")
        self.head = head
        self.losses = nn.ModuleDict(losses)
        self.min_depth, self.max_depth = min_depth, max_depth
        self.output, self.flip_test = output, flip_test

    @property
    def sees_images_once(self) -> bool:
        """Not if it shows mirrored images too."""
        return not self.flip_test

    def blank_labels(self, size: tuple[int, int]) -> dict[str, Any]:
        """Depth that is unknown everywhere."""
        return {"depth": torch.zeros(size)}

    def forward(self, samples: Sequence[Sample]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train on, or predict for, a batch.

        Args:
            samples: see :meth:`from_features`.
        """
        if self.training or not self.flip_test:
            return super().forward(samples)
        mirrored = [{**s, "image": s["image"].flip(-1)} for s in samples]
        pairs = zip(self._predict(samples), self._predict(mirrored))
        return [self._finished((plain + other.flip(-1)) / 2) for plain, other in pairs]

    def from_features(
        self, features: Any, sizes: Sequence[tuple[int, int]], samples: Sequence[Sample]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses or predictions of a batch.

        Args:
            features: what the neck makes of the padded batch.
            sizes: valid (height, width) of each image.
            samples: in training mode with ``depth``: float32 metres, of the image's size, 0 where unknown.

        Returns:
            in training mode the losses by their names, over the pixels of the batch that are not padding and whose
            depth is known (zero, but with a graph, if there is none). In eval mode one ``{"depth": H x W float32}`` per
            sample, of the original size: metres, or what ``output`` says.

        Raises:
            ValueError: if a training sample lacks depth or has one of another size.
        """
        if not self.training:
            return [self._finished(depth) for depth in self._depths(features, sizes, samples)]
        span = covered_size(self.backbone, features)
        truth = self._truth(samples, sizes, span)
        depth = _resized(self.head(features), span)
        known = (truth > 0) & (truth <= self.max_depth)
        if self.output == "relative_disparity":
            truth = 1 / truth.where(known, 1)
        return {name: loss(depth, truth, known) for name, loss in self.losses.items()}

    def _predict(self, samples: Sequence[Sample]) -> list[Tensor]:
        images = self.preprocess(samples)
        return self._depths(self.backbone(images.tensor), images.sizes, samples)

    def _depths(self, features: Any, sizes: Sequence[tuple[int, int]], samples: Sequence[Sample]) -> list[Tensor]:
        """What the head says, H x W of each original image."""
        batch = _resized(self.head(features), covered_size(self.backbone, features))
        found = []
        for depth, (height, width), size in zip(batch, sizes, original_sizes(samples, sizes)):
            found.append(_resized(depth[None, :, :height, :width], size)[0, 0])
        return found

    def _finished(self, depth: Tensor) -> dict[str, Any]:
        """The prediction for one image."""
        return {"depth": depth.clamp(self.min_depth, self.max_depth) if self.output == "metric" else depth}

    def _truth(self, samples: Sequence[Sample], sizes: Sequence[tuple[int, int]], span: tuple[int, int]) -> Tensor:
        """True depth of a batch on the model's device, 0 in the padding: B x 1 x span."""
        batch = torch.zeros(len(samples), 1, *span, device=self.device)
        for slot, sample, (height, width) in zip(batch, samples, sizes):
            slot[0, :height, :width].copy_(_checked(sample, (height, width)), non_blocking=True)
        return batch


def _checked(sample: Sample, size: tuple[int, int]) -> Tensor:
    """A training sample's depth."""
    depth: Tensor | None = sample.get("depth")
    if depth is None:
        raise ValueError(
            f"{sample_name(sample)}: training needs 'depth', which may be 0 (unknown) everywhere; or call model.eval()"
        )
    if tuple(depth.shape) != size:
        found = " x ".join(str(side) for side in depth.shape)
        raise ValueError(
            f"{sample_name(sample)}: the depth is {found} but the image {size[0]} x {size[1]}: both must go through "
            f"the same transforms"
        )
    return depth


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """B x 1 x h x w as float32 of another size."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps.float()
    return F.interpolate(maps.float(), tuple(size), mode="bilinear", align_corners=False)
