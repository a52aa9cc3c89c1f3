"""Instance masks from queries: a query's vector against vectors of all pixels (MaskFormer, arXiv 2107.06278)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from pe_dense.layers.conv_norm import ConvNorm


class QueryMasks(nn.Module):
    """One mask for each query, in its box.

    Args:
        dim: C, channels of queries and maps.
        channels: E, of the vectors that are multiplied.
        side: M, cells of a mask.
    """

    def __init__(self, dim: int, channels: int = 64, side: int = 28) -> None:
        super().__init__()
        self.side = side
        self.conv = ConvNorm(dim, channels, 3)
        self.up = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
        self.query = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, channels + 1))

    def pixels(self, finest: Tensor) -> Tensor:
        """Vectors of the cells of a map twice as fine: B x C x h x w to B x E x 2 h x 2 w."""
        return self.up(F.relu(self.conv(finest)))

    def forward(self, pixels: Tensor, features: Tensor, boxes: Tensor) -> Tensor:
        """Masks.

        Args:
            pixels: B x E x H x W of :meth:`pixels`.
            features: B x K x C of the queries.
            boxes: B x K x 4 XYXY in cells of ``pixels``.

        Returns:
            B x K x M x M float32 logits, of the cells of each box.
        """
        query = self.query(features)
        maps = torch.einsum("bke,behw->bkhw", query[..., :-1], pixels) * pixels.shape[1] ** -0.5
        rois = F.pad(boxes.flatten(0, 1).float(), (1, 0))
        rois[:, 0] = torch.arange(len(rois), device=rois.device)
        cut = roi_align(maps.float().flatten(0, 1)[:, None], rois, self.side, sampling_ratio=1, aligned=True)
        return cut[:, 0].unflatten(0, boxes.shape[:2]) + query[..., -1:, None].float()


@torch.no_grad()
def cut_masks(masks: Sequence[Tensor], boxes: Tensor, side: int) -> Tensor:
    """How objects look in boxes.

    Args:
        masks: per image n x H x W bool, n <= G.
        boxes: B x G x k x 4 XYXY in pixels.
        side: M.

    Returns:
        B x G x k x M x M float32, 0 or 1; zeros for slots without an object.
    """
    cut = boxes.new_zeros(*boxes.shape[:3], side, side)
    for image, (own, of_objects) in enumerate(zip(masks, boxes)):
        rois = F.pad(of_objects[: len(own)].float(), (1, 0))
        rois[..., 0] = torch.arange(len(own), device=boxes.device)[:, None]
        if len(own):
            found = roi_align(own[:, None].float(), rois.flatten(0, 1), side, aligned=True) >= 0.5
            cut[image, : len(own)] = found.view(*rois.shape[:2], side, side)
    return cut


def mask_losses(logits: Tensor, goals: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Cross-entropy, a mean over cells, and dice loss (V-Net, arXiv 1606.04797, section 3), summed over masks.

    Args:
        logits: ... x M x M.
        goals: the same, 0 or 1.
        valid: ... bool, False for masks that lose nothing.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, goals, reduction="none").mean((-2, -1))
    probs = logits.sigmoid()
    shared, both = (probs * goals).sum((-2, -1)), (probs + goals).sum((-2, -1))
    dice = 1 - (2 * shared + 1) / (both + 1)  # nothing predicted where nothing is loses nothing
    return {"mask": (entropy * valid).sum(), "dice": (dice * valid).sum()}
