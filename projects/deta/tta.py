"""The released test-time augmentation."""

from __future__ import annotations

from pe_dense.modeling.detection import DetectionTTA

_ALL = (0, 10_000)
_SIZES = {1728: (1696, 1536, 1152), 1824: (1792, 1728, 1536, 1344)}
_LIMITS = {1728: (_ALL, (32, 10_000), (32, 10_000)), 1824: (_ALL, _ALL, (64, 10_000), (64, 10_000))}


def released_tta(square_size: int = 1824, topk: int | None = None) -> DetectionTTA:
    """Several sizes, each also mirrored; small objects count from the larger sizes only; soft suppression.

    The release runs it with 2,000 queries and soft suppression within each view too, and keeps all detections:
    ``num_queries=2000`` and ``selection=Selection("quad", pre_topk=2000, topk=None)``.

    Args:
        square_size: of the model: 1728 or 1824.
        topk: detections kept per image; ``None`` keeps all.

    Raises:
        ValueError: for another ``square_size``, for which no sizes are released.
    """
    if square_size not in _SIZES:
        raise ValueError(
            f"square_size {square_size}: the release has sizes for 1728 and 1824; choose your own in a "
            "DetectionTTA, such as {_target_: pe_dense.modeling.detection.DetectionTTA, sizes: [768, 896, 1024]}"
        )
    return DetectionTTA(
        _SIZES[square_size], True, _LIMITS[square_size], "quad", iou_threshold=0.7, quad_scale=0.5, topk=topk
    )
