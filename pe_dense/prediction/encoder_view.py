"""An encoder to look into: from an official name, a weights file, or the checkpoint of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from pe_dense.data import Transform
from pe_dense.data.image_io import planes
from pe_dense.data.transforms import ResizeShortestEdge, apply_transforms
from pe_dense.engine.settings import pick_device
from pe_dense.modeling.backbone import DenseModel, PerceptionEncoder
from pe_dense.modeling.backbone.attention_maps import attention_maps
from pe_dense.modeling.backbone.builders import build_tower, find_tower
from pe_dense.prediction.predictor import Predictor

logger = logging.getLogger(__name__)


class EncoderView:
    """Pictures in, features and attention of any block out.

    Args:
        encoder: is put on ``device`` and into evaluation mode.
        transforms: what images go through; their sides are then rounded to whole patches.
        pixel_mean, pixel_std: normalisation of 0..255 pixels, per channel (RGB).
        device: see :func:`pick_device`.
    """

    def __init__(
        self,
        encoder: PerceptionEncoder,
        transforms: Sequence[Transform] = (),
        pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
        pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
        device: torch.device | str = "auto",
    ) -> None:
        self.device = pick_device(str(device))
        self.encoder = encoder.to(self.device).eval()
        self.transforms = list(transforms)
        self.mean, self.std = (
            torch.tensor([float(v) for v in values], device=self.device).view(3, 1, 1)
            for values in (pixel_mean, pixel_std)
        )

    @classmethod
    def from_tower(
        cls,
        name: str,
        weights: str | None = None,
        short_side: int | None = None,
        random: bool = False,
        device: torch.device | str = "auto",
    ) -> EncoderView:
        """A tower by its official name.

        Args:
            name: such as ``PE-Spatial-B16-512``; case does not matter.
            weights: a file, or the official name of other weights; ``None`` fetches the tower's own.
            short_side: of the images in pixels; ``None`` takes the tower's native side.
            random: start from random weights instead, with a warning.
            device: see :func:`pick_device`.

        Raises:
            ValueError: for an unknown name, or both ``weights`` and ``random``.
            FileNotFoundError, WeightsError: if there are no weights, or they do not fit.
        """
        size = find_tower(name)
        if random and weights is not None:
            raise ValueError(f"both random weights and the weights {weights} are asked for: choose one")
        if random:
            logger.warning("the weights of %s are random: what is shown is mostly the position of the patches", name)
            torch.manual_seed(0)
        encoder = build_tower(size, weights=None if random else weights or size.name)
        return cls(encoder, [ResizeShortestEdge(short_side or size.image_size)], device=device)

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, short_side: int | None = None, device: torch.device | str = "auto"
    ) -> EncoderView:
        """The encoder of a trained model, with its own normalisation.

        Args:
            path: a checkpoint, or the folder of a run.
            short_side: of the images in pixels; ``None`` takes the test transforms of the run.
            device: see :func:`pick_device`.

        Raises:
            FileNotFoundError: if there is no such checkpoint.
            ValueError: if its model has no Perception Encoder.
        """
        predictor = Predictor.from_checkpoint(path, device)
        model = predictor.model
        encoder = next((m for m in model.modules() if isinstance(m, PerceptionEncoder)), None)
        if encoder is None or not isinstance(model, DenseModel):
            raise ValueError(f"checkpoint {path}: its model {type(model).__name__} has no Perception Encoder")
        transforms = predictor.transforms if short_side is None else [ResizeShortestEdge(short_side)]
        return cls(encoder, transforms, model.pixel_mean, model.pixel_std, device)

    def block(self, layer: int) -> int:
        """The 0-based block that ``layer`` means.

        Raises:
            ValueError: if the encoder has no such block.
        """
        depth = self.encoder.depth
        if not -depth <= layer < depth:
            raise ValueError(f"layer {layer}: the encoder has blocks 0..{depth - 1} (-1 is the last)")
        return layer % depth

    def shown(self, image: np.ndarray) -> np.ndarray:
        """H x W x 3 uint8 RGB pixels at the size that the encoder sees: whole patches."""
        pixels, _ = apply_transforms(image, self.transforms, np.random.default_rng(0))
        patch = self.encoder.patch_size
        height, width = (max(1, int(side / patch + 0.5)) * patch for side in pixels.shape[:2])
        if (height, width) == pixels.shape[:2]:
            return pixels
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)

    @torch.no_grad()
    def features(self, picture: np.ndarray, layers: Sequence[int]) -> list[Tensor]:
        """Patch tokens after each block: C x h x w, float32 on the CPU.

        Args:
            picture: from :meth:`shown`.
            layers: 0-based blocks; negative ones count from the last.
        """
        return [grid[0].float().cpu() for grid in self.encoder.forward_intermediates(self._input(picture), layers)]

    def attention(self, picture: np.ndarray, layer: int, cell: tuple[int, int] | None) -> Tensor:
        """Attention of one patch, or of the class token, in each head of a block: heads x h x w; see
        :func:`attention_maps`."""
        return attention_maps(self.encoder, self._input(picture), layer, cell)[0].cpu()

    def _input(self, picture: np.ndarray) -> Tensor:
        return ((planes(picture).to(self.device).float() - self.mean) / self.std)[None]
