"""Small COCO data sets on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a cache folder of its own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PE_DENSE_CACHE", str(folder))
    return folder


@pytest.fixture
def content() -> dict[str, Any]:
    """Two images, one with a polygon and a crowd, one empty; category ids with a gap."""
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 40, "width": 60},
            {"id": 3, "file_name": "b.png", "height": 30, "width": 30},
        ],
        "annotations": [
            {
                "id": 11,
                "image_id": 7,
                "category_id": 90,
                "bbox": [10, 5, 20, 10],
                "segmentation": [[10, 5, 30, 5, 30, 15, 10, 15]],
                "area": 200,
                "iscrowd": 0,
            },
            {
                "id": 12,
                "image_id": 7,
                "category_id": 2,
                "bbox": [0, 0, 1, 40],
                "segmentation": {"size": [40, 60], "counts": [0, 40, 2360]},
                "area": 40,
                "iscrowd": 1,
            },
        ],
        "categories": [{"id": 90, "name": "box"}, {"id": 2, "name": "bar"}],
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a json, and the images it names as random pictures, to a folder; returns the json's path."""

    def write(content: Any, text: str | None = None) -> Path:
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content) if text is None else text)
        rng = np.random.default_rng(0)
        for row in content["images"] if isinstance(content, dict) and "images" in content else []:
            if re.fullmatch(r"\w+\.png", str(row.get("file_name"))) and row.get("height") and row.get("width"):
                picture = rng.integers(0, 255, (row["height"], row["width"], 3), dtype=np.uint8)
                cv2.imwrite(str(tmp_path / row["file_name"]), picture)
        return path

    return write
