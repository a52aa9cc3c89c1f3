"""Second stage: classify regions and refine their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.layers.conv_norm import ConvNorm
from pe_dense.modeling.detection.class_loss import ClassLoss, SoftmaxLoss
from pe_dense.modeling.detection.regions import Samples


class BoxHead(nn.Module):
    """Convolutions with LayerNorm, then fully connected layers (ViTDet's ``4conv1fc``).

    Args:
        in_channels: channels of the pooled features.
        pooled_size: their height and width.
        conv_dims: output channels of each convolution.
        fc_dims: output width of each fully connected layer; at least one.
    """

    def __init__(
        self,
        in_channels: int = 256,
        pooled_size: int = 7,
        conv_dims: Sequence[int] = (256, 256, 256, 256),
        fc_dims: Sequence[int] = (1024,),
    ) -> None:
        super().__init__()
        dims = [in_channels, *conv_dims]
        self.convs = nn.ModuleList(ConvNorm(a, b, 3) for a, b in pairwise(dims))
        widths = [dims[-1] * pooled_size**2, *fc_dims]
        self.fcs = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out_dim = widths[-1]
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        for parameter in self.fcs.parameters():  # Caffe2's Xavier initialisation, as detectron2's heads have it
            if parameter.dim() > 1:
                nn.init.kaiming_uniform_(parameter, a=1)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """R x in_channels x pooled_size x pooled_size to R x out_dim."""
        for conv in self.convs:
            x = F.relu(conv(x))
        x = x.flatten(1)
        for fc in self.fcs:
            x = F.relu(fc(x))
        return x


class BoxPredictor(nn.Module):
    """Class scores and box offsets of a region (Fast R-CNN, section 2).

    Args:
        in_dim: width of the region features.
        num_classes: K, background not counted.
        box_coder: parameterisation of the offsets.
        class_agnostic: one box per region instead of one per region and class.
        class_loss: how the classes are learnt; ``None``: by :class:`SoftmaxLoss`.
    """

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        box_coder: BoxCoder,
        class_agnostic: bool = False,
        class_loss: ClassLoss | None = None,
    ) -> None:
        super().__init__()
        self.class_loss = SoftmaxLoss() if class_loss is None else class_loss
        self.num_classes = num_classes
        self.box_coder = box_coder
        self.cls_score = nn.Linear(in_dim, num_classes + 1)
        self.bbox_pred = nn.Linear(in_dim, 4 if class_agnostic else 4 * num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """See :func:`pe_dense.engine.initialization.initialize`."""
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """R x in_dim to float32 logits R x (K+1), background last, and offsets R x K x 4 (R x 1 x 4 if agnostic)."""
        return self.cls_score(x).float(), self.bbox_pred(x).float().unflatten(1, (-1, 4))

    def losses(self, logits: Tensor, deltas: Tensor, samples: Samples) -> dict[str, Tensor]:
        """Those of the classes and, on foreground only, L1 of the boxes; both are means over all used regions.

        Args:
            logits: R x (K+1) with R = B * S of the samples.
            deltas: R x K x 4 or R x 1 x 4.
            samples: the regions.
        """
        classes = samples.classes.flatten()
        boxes, goals = samples.boxes.flatten(0, 1), samples.target_boxes.flatten(0, 1)
        foreground = samples.foreground(self.num_classes).flatten()[:, None]
        count = (classes >= 0).sum().clamp(min=1)
        cls = self.class_loss(logits, classes)
        # background regions may be matched to a padded box or be empty themselves: their targets are undefined
        offsets = torch.where(foreground, self.box_coder.encode(boxes, goals), 0.0)
        channel = classes.clamp(0, deltas.shape[1] - 1)[:, None, None].expand(-1, 1, 4)
        own = deltas.gather(1, channel)[:, 0]
        loc = (F.l1_loss(own, offsets, reduction="none") * foreground).sum()
        return {"loss_cls": cls, "loss_box_reg": loc / count}

    def probabilities(self, logits: Tensor) -> Tensor:
        """R x (K+1) logits to R x K probabilities."""
        return self.class_loss.probabilities(logits)

    def decode(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """R x K x 4 boxes (R x 1 x 4 if agnostic) from offsets and R x 4 regions."""
        return self.box_coder.decode(deltas, boxes[:, None])
