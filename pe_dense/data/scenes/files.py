"""Image files whose bytes depend on the pixels alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

_QUALITY = 95


def write_jpeg(path: Path, rgb: np.ndarray) -> None:
    """Write H x W x 3 uint8 RGB. Raises OSError if the file cannot be written."""
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    path.write_bytes(data.tobytes())


def write_png(path: Path, values: np.ndarray) -> None:
    """Write H x W uint8 or uint16. Raises OSError if the file cannot be written."""
    _, data = cv2.imencode(".png", values)
    path.write_bytes(data.tobytes())
