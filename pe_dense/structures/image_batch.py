"""Images of different sizes in one padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass
class ImageBatch:
    """A padded batch.

    Attributes:
        tensor: B x C x H x W; each image lies at the top left, the rest is padding.
        sizes: valid (height, width) of each image.
    """

    tensor: Tensor
    sizes: list[tuple[int, int]]

    @classmethod
    def from_images(
        cls, images: Sequence[Tensor], divisor: int = 1, square: int | None = None, value: float = 0.0
    ) -> ImageBatch:
        """Pad C x h x w images at the bottom and right to a common size.

        Args:
            images: at least one image, all with the same C and dtype.
            divisor: H and W become multiples of this.
            square: if set, H and W are at least this (multiples of ``divisor`` still).
            value: padding value.
        """
        sizes = [(int(i.shape[-2]), int(i.shape[-1])) for i in images]
        height, width = (max([*side, square or 0]) for side in zip(*sizes))
        height, width = (-(-s // divisor) * divisor for s in (height, width))
        batch = images[0].new_full((len(images), images[0].shape[0], height, width), value)
        for slot, image in zip(batch, images):
            slot[:, : image.shape[-2], : image.shape[-1]].copy_(image)
        return cls(batch, sizes)

    def __len__(self) -> int:
        return len(self.sizes)
