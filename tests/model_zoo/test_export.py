import pytest
import torch

from pe_dense.config import instantiate, load_config, to_yaml
from pe_dense.engine import Checkpoint, CheckpointError, save_checkpoint
from pe_dense.engine.sharded import CheckpointWriter
from pe_dense.model_zoo import export_detectron2
from pe_dense.modeling.backbone import PerceptionEncoder, WeightsError
from pe_dense.modeling.detection.released import load_released


@pytest.fixture
def cfg(released):
    return load_config(released / "recipe.yaml")


@pytest.mark.parametrize("kind", ["file", "run"])
def test_there_and_back(cfg, tmp_path, kind):
    torch.manual_seed(1)
    model, again = instantiate(cfg.model), instantiate(cfg.model)
    source = tmp_path / ("x.safetensors" if kind == "file" else "run")
    if kind == "file":
        save_checkpoint(Checkpoint(source, model.state_dict(), 0, to_yaml(cfg), None, {}))
    else:
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        facts = {"step": 3, "categories": None, "config": to_yaml(cfg)}
        CheckpointWriter(source / "checkpoints", 1).save(3, tensors, {}, facts)
    size = export_detectron2(source, tmp_path / "new" / "d2.pth")
    assert size == sum(p.numel() for p in model.parameters())
    stored = torch.load(tmp_path / "new" / "d2.pth")
    assert list(stored) == ["model"]
    assert stored["model"]["backbone.net.positional_embedding"].dim() == 3
    assert "proposal_generator.rpn_head.anchor_deltas.weight" in stored["model"]
    load_released(again, tmp_path / "new" / "d2.pth")
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name].view(torch.int32), value.view(torch.int32)), name
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["d2.pth"]


def test_what_cannot_be_exported(cfg, tmp_path):
    state = PerceptionEncoder(16, 1, 2, 32).state_dict()
    save_checkpoint(Checkpoint(tmp_path / "x.safetensors", state, 0, to_yaml(cfg), None, {}))
    with pytest.raises(WeightsError, match="not that of a Mask R-CNN"):
        export_detectron2(tmp_path / "x.safetensors", tmp_path / "d2.pth")
    with pytest.raises(CheckpointError, match=r"d2\.safetensors must end in \.pth"):
        export_detectron2(tmp_path / "x.safetensors", tmp_path / "d2.safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        export_detectron2(tmp_path / "nowhere", tmp_path / "d2.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
