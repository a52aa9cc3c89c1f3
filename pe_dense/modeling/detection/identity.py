"""An embedding of each region that tells objects apart, and the loss that it is trained with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.modeling.detection.box_head import BoxHead
from pe_dense.modeling.detection.pooler import ROIPooler

BACKGROUND, UNUSED = -1, -2
_NOTHING = -1e9  # a logarithm of zero whose gradient is zero, too, instead of NaN


class IdentityHead(nn.Module):
    """Embeddings of regions, as in QDTrack (arXiv 2006.06664): convolutions, fully connected layers, a projection.

    Args:
        pooler: features of the regions.
        trunk: convolutions and fully connected layers on them.
        embed_dim: E, numbers of an embedding.
    """

    def __init__(self, pooler: ROIPooler, trunk: BoxHead, embed_dim: int = 256) -> None:
        super().__init__()
        self.pooler, self.trunk = pooler, trunk
        self.project = nn.Linear(trunk.out_dim, embed_dim)

    def forward(self, levels: Sequence[Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Embed regions.

        Args:
            levels: the pyramid, B x C x H x W each.
            boxes: R x 4 XYXY in input pixels.
            image_index: R, which image of the batch each box lies in.

        Returns:
            R x E float32 of length 1.
        """
        features = self.project(self.trunk(self.pooler(levels, boxes, image_index)))
        return F.normalize(features.float(), dim=1)


class IdentityLoss:
    """QDTrack's loss of quasi-dense similarity (arXiv 2006.06664, equations 5 and 6) on embeddings of length 1.

    Each region on an object is compared with all regions of the other images of the batch. Those on the same object
    are its positives; those on other objects and on background its negatives. With s = the cosine of two embeddings,

    - ``loss_identity``, equation 5: log(1 + sum over positives and negatives of exp((s_negative - s_positive) / tau)),
      the mean over the regions that have a positive;
    - ``loss_similarity``, equation 6: (s - 1)^2 of positives and s^2 of negatives, half the mean over either. It gives
      the cosine itself a meaning, which trackers compare with fixed limits.

    In contrast to QDTrack the embeddings have length 1 in both, because BoT-SORT compares cosines; hence ``tau``.

    Args:
        temperature: tau: a small one makes the hardest negatives count most.
        identity_weight: factor of ``loss_identity``.
        similarity_weight: factor of ``loss_similarity``.

    Raises:
        ValueError: if the temperature is not positive.
    """

    def __init__(self, temperature: float = 0.1, identity_weight: float = 0.25, similarity_weight: float = 1.0) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, it is {temperature}")
        self.temperature = temperature
        self.identity_weight, self.similarity_weight = identity_weight, similarity_weight

    def __call__(self, embeddings: Tensor, identities: Tensor, image_index: Tensor) -> dict[str, Tensor]:
        """Both losses; zeros, with zero gradients, where no object is seen in two images.

        Args:
            embeddings: R x E of length 1.
            identities: R int64: the object of each region, -1 for background, -2 for regions that do not count.
            image_index: R int64: which image each region lies in.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = embeddings @ embeddings.T
        compared = (image_index[:, None] != image_index) & (identities[:, None] >= 0) & (identities != UNUSED)
        same = identities[:, None] == identities
        positive, negative = compared & same, compared & ~same
        logits = cosines / self.temperature
        harder = logits.masked_fill(~negative, _NOTHING).logsumexp(dim=1)
        easier = (-logits).masked_fill(~positive, _NOTHING).logsumexp(dim=1)
        ranked = F.softplus(harder + easier)
        apart = (_mean((cosines - 1) ** 2, positive) + _mean(cosines**2, negative)) / 2
        return {
            "loss_identity": self.identity_weight * _mean(ranked, positive.any(dim=1)),
            "loss_similarity": self.similarity_weight * apart,
        }


def _mean(values: Tensor, used: Tensor) -> Tensor:
    """Mean over the places of a mask; 0 over none, without waiting for the device."""
    return torch.where(used, values, 0.0).sum() / used.sum().clamp(min=1)
