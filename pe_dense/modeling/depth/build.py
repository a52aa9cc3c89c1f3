"""Depth estimators as plain functions that fill in the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from pe_dense.layers.batch_norm import BatchNormKind
from pe_dense.modeling.backbone.features import EncoderFeatures
from pe_dense.modeling.depth.decode import BinNormalization, BinSpacing, DepthBins, DepthDecoder, DepthRegression
from pe_dense.modeling.depth.dpt_head import DPTHead, Readout
from pe_dense.modeling.depth.estimator import DepthEstimator, DepthOutput
from pe_dense.modeling.depth.linear_head import LinearDepthHead
from pe_dense.modeling.depth.losses import SigLoss
from pe_dense.modeling.depth.relative_loss import ScaleShiftInvariantLoss


def build_linear_depth(
    backbone: EncoderFeatures,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
    bins: int = 256,
    spacing: BinSpacing = "uniform",
    normalization: BinNormalization = "linear",
    use_cls: bool = True,
    upsample: int = 4,
    norm: BatchNormKind | None = None,
    losses: Mapping[str, nn.Module] | None = None,
    flip_test: bool = False,
    pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
    pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
) -> DepthEstimator:
    """Metric depth by a linear head on one or several layers of the encoder; the defaults are DINOv2's, for NYU.

    Args:
        backbone: the layers; several are laid over each other.
        min_depth: metres.
        max_depth: metres (NYU: 10, KITTI: 80).
        bins, spacing, normalization: see :class:`DepthBins`.
        use_cls, upsample, norm: see :class:`LinearDepthHead`.
        losses: by name; ``None`` takes :class:`SigLoss` with 100 calls of warm-up as ``loss_sig``.
        flip_test, pixel_mean, pixel_std: see :class:`DepthEstimator`.
    """
    decoder = DepthBins(min_depth, max_depth, bins, spacing, normalization)
    head = LinearDepthHead(backbone.embed_dim * len(backbone.layers), decoder, use_cls, upsample, norm)
    losses = {"loss_sig": SigLoss(warmup_calls=100)} if losses is None else losses
    return DepthEstimator(backbone, head, losses, min_depth, max_depth, "metric", flip_test, pixel_mean, pixel_std)


def build_dpt_depth(
    backbone: EncoderFeatures,
    min_depth: float = 1e-3,
    max_depth: float = 10.0,
    bins: int | None = None,
    spacing: BinSpacing = "uniform",
    normalization: BinNormalization = "linear",
    channels: int | None = None,
    widths: Sequence[int] | None = None,
    readout: Readout = "project",
    output: DepthOutput = "metric",
    losses: Mapping[str, nn.Module] | None = None,
    flip_test: bool = False,
    pixel_mean: Sequence[float] = (127.5, 127.5, 127.5),
    pixel_std: Sequence[float] = (127.5, 127.5, 127.5),
) -> DepthEstimator:
    """Metric or relative depth by a DPT head on four layers of the encoder, or on one that is used four times.

    Args:
        backbone: four layers, shallowest first, or one.
        min_depth: metres.
        max_depth: metres (NYU: 10, KITTI: 80).
        bins: ``None`` regresses depth, DINOv2's choice; a number predicts bins.
        spacing, normalization: see :class:`DepthBins`.
        channels, widths, readout: see :class:`DPTHead`.
        output, flip_test, pixel_mean, pixel_std: see :class:`DepthEstimator`.
        losses: by name; ``None`` takes :class:`SigLoss` with 100 calls of warm-up as ``loss_sig``, for relative output
            :class:`ScaleShiftInvariantLoss` as ``loss_ssi``.

    Raises:
        ValueError: for bins, which are depths in metres, with a relative output.
    """
    metric = output == "metric"
    if bins is not None and not metric:
        raise ValueError(f'bins={bins} are depths in metres, output is "{output}": set bins to null')
    decoder: DepthDecoder = DepthRegression(min_depth if metric else 0.0)
    if bins is not None:
        decoder = DepthBins(min_depth, max_depth, bins, spacing, normalization)
    head = DPTHead(backbone.embed_dim, decoder, channels, widths, readout)
    if losses is None:
        losses = {"loss_sig": SigLoss(warmup_calls=100)} if metric else {"loss_ssi": ScaleShiftInvariantLoss()}
    return DepthEstimator(backbone, head, losses, min_depth, max_depth, output, flip_test, pixel_mean, pixel_std)
