import json

import pytest
import torch

from pe_dense.config import instantiate, load_config
from pe_dense.engine.build import without_pretrained
from pe_dense.model_zoo import ENTRIES, find_entry, recipe
from pe_dense.modeling.detection.released import from_detectron2, load_released, to_detectron2
from projects.deta import from_released, load_released_deta, to_released

KEYS = {
    "mask_rcnn_pe_core_g_coco": ("keys_vitdet_coco_core.json", 1_885_521_776),
    "mask_rcnn_pe_spatial_g_coco": ("keys_vitdet_coco_spatial.json", 1_885_675_376),
    "mask_rcnn_pe_core_g_lvis": ("keys_vitdet_lvis_core.json", 1_891_565_762),
    "mask_rcnn_pe_spatial_g_lvis": ("keys_vitdet_lvis_spatial.json", 1_891_719_362),
    "deta_pe_spatial_g_coco": ("keys_deta_coco_1824.json", 1_880_064_281),
}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_recipe_takes_every_key_of_the_released_file(entry, fixtures):
    file, parameters = KEYS[entry.name]
    cfg = without_pretrained(recipe(entry.name))
    with torch.device("meta"):
        model = instantiate(cfg.model)
        shapes = json.loads((fixtures / "pe" / file).read_text())
        released = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert sum(p.numel() for p in model.parameters()) == parameters
    deta = entry.name.startswith("deta")
    ours, theirs = (from_released, to_released) if deta else (from_detectron2, to_detectron2)
    assert {k: v.shape for k, v in ours(released).items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert set(released) - set(theirs(model.state_dict())) == {k for k in shapes if ".freqs_" in k}
    (load_released_deta if deta else load_released)(model, released)
    assert model.num_classes == len(entry.categories)


def test_class_names(real_data):
    truth = json.loads((real_data / "coco_eval_val2014_100" / "instances_val2014_100.json").read_text())["categories"]
    categories = find_entry("mask_rcnn_pe_core_g_coco").categories
    assert list(categories.ids) == [row["id"] for row in truth]
    assert list(categories.names) == [row["name"] for row in truth]


def test_class_names_of_lvis():
    categories = find_entry("mask_rcnn_pe_spatial_g_lvis").categories
    assert categories.ids == tuple(range(1, 1204))
    assert [categories.names[i] for i in (0, 1, 792, 1202)] == ["aerosol_can", "air_conditioner", "person", "zucchini"]
    assert len(set(categories.names)) == 1203


def test_columns_of_deta_are_the_ids():
    entry = find_entry("deta_pe_spatial_g_coco")
    assert load_config(entry.config_file).model.class_columns == list(entry.categories.ids)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"'Mask_RCNN_PE_spatial_coco' .* did you mean mask_rcnn_pe_spatial_g"):
        find_entry("Mask_RCNN_PE_spatial_coco")
    with pytest.raises(ValueError, match=r"did you mean mask_rcnn_pe_spatial_g_\w+ or mask_rcnn_pe_spatial_g_\w+\?$"):
        find_entry("mask_rcnn_pe_spatial_g")
    with pytest.raises(ValueError, match=r"'yolo' in the model zoo; there are mask_rcnn_pe_core_g_coco, "):
        find_entry("yolo")
