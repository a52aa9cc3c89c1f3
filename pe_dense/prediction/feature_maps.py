"""Dense features of an image, and where its pixels lie in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class FeatureMaps(Mapping[int, Tensor]):
    """Maps of one image, or of a batch of images of the same size: ``maps[-1]`` is N x C x h x w, contiguous.

    A mapping from 0-based blocks to maps, in the order asked for; negative numbers find them too.

    Attributes:
        maps: block to N x C x h x w.
        depth: blocks of the encoder.
        stride: pixels per cell, along both axes, of the image as the encoder saw it.
        seen_size: (height, width) of the image as the encoder saw it: resized, without padding. h and w are these
            divided by ``stride`` and rounded up: the last row and column may reach beyond the image.
        image_size: (height, width) of the image as it was given.
        class_tokens: block to N x C; empty if they were not asked for.
    """

    maps: dict[int, Tensor]
    depth: int
    stride: int
    seen_size: tuple[int, int]
    image_size: tuple[int, int]
    class_tokens: dict[int, Tensor] = field(default_factory=dict)

    def __getitem__(self, layer: int) -> Tensor:
        return self.maps[self._block(layer)]

    def __iter__(self) -> Iterator[int]:
        return iter(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        shape = " x ".join(str(side) for side in next(iter(self.maps.values())).shape)
        return f"FeatureMaps(blocks {', '.join(map(str, self.maps))}: {shape}, stride {self.stride})"

    def class_token(self, layer: int = -1) -> Tensor:
        """N x C.

        Raises:
            KeyError: if the layer, or the class token, was not asked for.
        """
        block = self._block(layer)
        if block not in self.class_tokens:
            raise KeyError("no class token was asked for: extract with class_token=True")
        return self.class_tokens[block]

    def upsampled(self, layer: int = -1, size: tuple[int, int] | None = None) -> Tensor:
        """A map at the pixels of the image, bilinear, each cell's centre where it lies in the image.

        Resizing the map itself would be wrong by the part of the last cells that reaches beyond the image.

        Args:
            layer: as in ``maps[layer]``.
            size: (height, width) of the result; ``None`` is the image as it was given.

        Returns:
            N x C x height x width.
        """
        grid, (height, width) = self[layer], size or self.image_size
        rows, columns = grid.shape[-2:]
        y, x = (
            # -1 and 1 are the outer edges of the first and the last cell
            (torch.arange(n, device=grid.device) + 0.5) / n * (2 * seen / (self.stride * cells)) - 1
            for n, seen, cells in ((height, self.seen_size[0], rows), (width, self.seen_size[1], columns))
        )
        points = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        points = points.expand(len(grid), -1, -1, -1)
        found = F.grid_sample(grid.float(), points, mode="bilinear", padding_mode="border", align_corners=False)
        return found.to(grid.dtype)

    def _block(self, layer: int) -> int:
        block = layer % self.depth if -self.depth <= layer < self.depth else layer
        if block not in self.maps:
            raise KeyError(f"layer {layer} was not asked for: there are {', '.join(map(str, self.maps))}")
        return block
