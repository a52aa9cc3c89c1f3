import json

import pytest
import torch

from pe_dense.modeling import backbone
from pe_dense.modeling.backbone import FeaturePyramid, WeightsError
from pe_dense.modeling.detection import FederatedLoss, build_mask_rcnn
from pe_dense.modeling.detection.released import from_detectron2, load_released, to_detectron2

RECIPE = {
    "patch_size": 16, "window_size": 32, "global_blocks": (12, 24, 36, 49), "abs_pos": "tile", "rope": "rescaled",
    "mask_padding": False, "pool": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tower", "parameters"),
    [
        ("coco_core", backbone.pe_core_g14_448, 1_885_521_776),
        ("coco_spatial", backbone.pe_spatial_g14_448, 1_885_675_376),
        ("lvis_core", backbone.pe_core_g14_448, 1_891_565_762),
        ("lvis_spatial", backbone.pe_spatial_g14_448, 1_891_719_362),
    ],
)
def test_released_detectors(fixtures, name, tower, parameters):
    with torch.device("meta"):
        lvis = {"num_classes": 1203, "class_loss": FederatedLoss(1203)}
        options = lvis if name.startswith("lvis") else {"num_classes": 80}
        model = build_mask_rcnn(FeaturePyramid(tower(**RECIPE)), **options)
        shapes = json.loads((fixtures / "pe" / f"keys_vitdet_{name}.json").read_text())
        released = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert sum(p.numel() for p in model.parameters()) == parameters
    own = model.state_dict()
    renamed = from_detectron2(released)
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in own.items()}
    stored = {k: v.shape for k, v in released.items() if ".freqs_" not in k}
    assert {k: v.shape for k, v in to_detectron2(own).items()} == stored
    load_released(model, released)


def test_cascade_names_go_back_and_forth(tiny):
    state = tiny(cascade=True, class_loss=FederatedLoss(3)).state_dict()
    theirs = to_detectron2(state)
    assert "roi_heads.box_predictor.2.fed_loss_cls_weights" in theirs
    assert "roi_heads.box_head.2.conv4.norm.bias" in theirs
    assert "roi_heads.box_head.0.fc1.weight" in theirs
    assert "roi_heads.box_predictor.1.bbox_pred.weight" in theirs
    assert set(from_detectron2(theirs)) == set(state)


@pytest.mark.parametrize("wrapped", [False, True])
def test_load_from_a_file(tiny, tmp_path, wrapped):
    source, target = tiny(), tiny()
    for parameter in target.parameters():
        torch.nn.init.zeros_(parameter)
    state = to_detectron2(source.state_dict()) | {"backbone.net.rope_win.freqs_cos": torch.zeros(1)}
    torch.save({"model": state} if wrapped else state, tmp_path / "detector.pth")
    load_released(target, tmp_path / "detector.pth")
    for key, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[key])


def test_unaccounted_keys_are_named(tiny, tmp_path):
    model = tiny()
    state = to_detectron2(model.state_dict())
    with pytest.raises(WeightsError, match=r"2 unknown keys:\n  roi_heads.keypoint_head.weight\n  what$"):
        load_released(model, state | {"roi_heads.keypoint_head.weight": torch.zeros(1), "what": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"mask_head.convs.0.weight \(not in the model\)\n(.*\n)+  ... and 4 more"):
        load_released(tiny(with_masks=False), state)
    del state["roi_heads.box_head.fc1.bias"]
    state["backbone.net.ln_pre.bias"] = torch.zeros(5)
    with pytest.raises(WeightsError, match=r"fcs.0.bias \(missing in the file\)\n.*ln_pre.bias \(file \(5,\), model"):
        load_released(model, state)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_released(model, tmp_path / "nowhere.pth")
