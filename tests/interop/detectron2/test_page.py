"""The page's Python runs, on a tiny data set and with small models."""

import re
from pathlib import Path

import pytest

pytest.importorskip(
    "detectron2.model_zoo",
    reason="detectron2 is not installed, or its model_zoo lacks pkg_resources",
    exc_type=ImportError,
)

from detectron2.data import DatasetCatalog, MetadataCatalog

from pe_dense import Predictor
from pe_dense.data.scenes import write_scenes
from pe_dense.interop.detectron2 import PyramidBackbone

ROOT = Path(__file__).resolve().parents[3]
SMALLER = {
    'weights="PE-Spatial-B16-512"': "depth=1",
    "[2, 5, 8, 11]": "[0]",
    '"data.images=DATA/images"]': '"data.images=DATA/images", "data.image_size=64"]',
    "(256, 256)": "(64, 64)",
    "num_workers=2": "num_workers=0",
    "trainer.train(0, 200)": "trainer.train(0, 2)",
}


@pytest.mark.slow
def test_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    made = write_scenes(tmp_path / "DATA", train=6, val=1, size=64, videos=0)
    made.train_images.rename(made.root / "images")
    made.train_json.rename(made.root / "instances.json")
    text = (ROOT / "docs" / "detectron2.md").read_text(encoding="utf-8")
    for there, smaller in SMALLER.items():
        assert there in text
        text = text.replace(there, smaller)
    namespace = {}
    try:
        for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            exec(compile(code, "docs/detectron2.md", "exec"), namespace)
    finally:
        for name in ("my_train", "two_classes"):
            DatasetCatalog.pop(name, None)
            MetadataCatalog.pop(name, None)
    assert isinstance(namespace["detector"].backbone, PyramidBackbone)
    assert len(namespace["batch"]) == 4
    assert "bbox" in namespace["results"]  # masks too, once the model finds something
    assert isinstance(namespace["predictor"], Predictor)
    assert namespace["predictor"].categories.names == namespace["dataset"].categories.names
