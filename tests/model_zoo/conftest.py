"""A small detector as an entry of the zoo, with its file."""

from pathlib import Path

import pytest
import torch

from pe_dense.config import instantiate, load_config, save_config
from pe_dense.model_zoo import MIRROR, Entry
from pe_dense.modeling.detection.released import to_detectron2

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "model.num_classes=80", "model.test_score_thresh=0.0", "model.backbone.backbone.depth=1",
    "model.backbone.backbone.embed_dim=32", "model.backbone.backbone.mlp_dim=32", "model.backbone.out_channels=32",
    "model.conv_dim=32", "model.fc_dim=32", "model.test_topk_per_image=5", "train.precision=bf16",
    "dataloader.test.transforms.0.short_edge_length=64", "dataloader.test.transforms.0.max_size=64",
]  # fmt: skip
NAME, FILE = "small_rcnn_coco", "small rcnn.pth"


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the small detector's recipe and file."""
    folder = tmp_path_factory.mktemp("released")
    cfg = load_config(ROOT / "configs" / "demo" / "mask_rcnn_scenes.py", SMALL)
    save_config(cfg, folder / "recipe.yaml")
    torch.manual_seed(0)
    state = to_detectron2(instantiate(cfg.model).state_dict())
    torch.save({"model": state | {"backbone.net.rope_glb.freqs_cos": torch.zeros(4)}}, folder / FILE)
    return folder


@pytest.fixture
def small(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the file that may be damaged; its detector is in the zoo, nothing is on the hub or in a cache."""

    def offline(url: str) -> None:
        raise OSError("no route to host")

    entry = Entry(NAME, FILE, str(released / "recipe.yaml"), "coco")
    monkeypatch.setattr("pe_dense.model_zoo.entries.ENTRIES", (entry,))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *place: None)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", offline)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *place: pytest.fail("it would try for minutes"))
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(MIRROR, raising=False)
    folder = tmp_path / "mirror"
    folder.mkdir()
    path = folder / FILE
    path.write_bytes((released / FILE).read_bytes())
    return path
