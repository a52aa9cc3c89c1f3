import argparse

import numpy as np
import pytest
import torch

from pe_dense.config import LazyCall as L
from pe_dense.config import instantiate, load_config, save_config
from pe_dense.data import class_image_counts
from pe_dense.engine.build import without_pretrained
from pe_dense.model_zoo import Entry, load, released_config
from pe_dense.modeling.backbone import PerceptionEncoder, WeightsError
from pe_dense.modeling.detection import FederatedLoss
from pe_dense.modeling.detection.released import load_released, to_detectron2
from projects.deta import DetaPyramid, build_deta, to_released

from .conftest import FILE, NAME, ROOT

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_load(small, released):
    predictor = load(NAME, small, device="cpu")
    assert predictor.precision == "fp32"  # as the release evaluated, whatever it trained in
    assert predictor.categories.names[-1] == "toothbrush"
    found = predictor(IMAGE)
    assert found.image_size == (50, 70)
    assert len(found) == 5
    model = instantiate(without_pretrained(load_config(released / "recipe.yaml")).model)
    load_released(model, small)
    again = type(predictor)(model, predictor.transforms, device="cpu")(IMAGE)
    assert torch.equal(found.boxes, again.boxes)
    assert torch.equal(found.scores, again.scores)


def test_the_weights_may_be_trained_further(small):
    before = small.read_bytes()
    model = load(NAME, small, device="cpu").model
    own = dict(model.named_parameters())
    assert all(p.requires_grad and p.device.type == "cpu" for p in own.values())
    with torch.no_grad():
        own["backbone.backbone.ln_pre.weight"].mul_(2)
    assert own["backbone.backbone.ln_pre.weight"].eq(2).all()
    assert small.read_bytes() == before


def test_half_precision_files(small):
    state = torch.load(small)["model"]
    torch.save({name: value.bfloat16() for name, value in state.items()}, small)
    model = load(NAME, small, device="cpu").model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    weight = model.roi_heads.box_predictor.cls_score.weight
    assert torch.equal(weight, state["roi_heads.box_predictor.cls_score.weight"].bfloat16().float())


def test_overrides(small, tmp_path):
    changes = [f"model.weights='{small}'", "model.test_topk_per_image=3", "dataloader.test.transforms.0.max_size=48"]
    predictor = load(NAME, device="cpu", overrides=changes)
    assert len(predictor(IMAGE)) == 3
    assert predictor.transforms[0].max_size == 48
    cfg = released_config(NAME, small, ["train.precision=bf16"])
    assert (cfg.train.precision, cfg.train.output_dir) == ("bf16", f"output/zoo/{NAME}")
    with pytest.raises(ValueError, match=r"between 0 and 1, it is 2"):
        load(NAME, small, score_threshold=2)


def damage_end(path):
    path.write_bytes(path.read_bytes()[:-1000])


def page_instead(path):
    path.write_text("<!DOCTYPE html>\n<title>404: Not Found</title>")


def other_architecture(path):
    torch.save(PerceptionEncoder(32, 1, 2, 32).state_dict(), path)


def other_size(path):
    state = torch.load(path)["model"]
    state["roi_heads.box_predictor.cls_score.weight"] = torch.zeros(1204, 32)
    torch.save(state, path)


def other_kind(path):
    state = torch.load(path)["model"]
    torch.save({f"transformer.{name}": value for name, value in state.items()}, path)


class Harmful:
    def __reduce__(self):
        return (print, ("code of the file runs",))


def with_code(path):
    torch.save({"model": torch.load(path)["model"], "args": Harmful()}, path)


def with_arguments(path):
    torch.save({"model": torch.load(path)["model"], "args": argparse.Namespace(lr=1)}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_end, r"cannot be read as weights .* truncated, fetch it again"),
        (page_instead, r"is text that starts with '<!DOCTYPE html>', not weights; .* fetch the file itself"),
        (other_architecture, r"is not a released Mask R-CNN; an encoder's file goes to the encoder's own weights"),
        (other_size, r"cls_score.weight \(file \(1204, 32\), model \(81, 32\)\)"),
        (other_kind, r"is not a released Mask R-CNN; .* \d+ unknown keys:\n  transformer\.backbone\.net"),
        (with_code, r"holds more than tensors \(\S*print\); it is not opened"),
        (with_arguments, r"holds more than tensors \(argparse\.Namespace\)"),
    ],
)
def test_bad_files(small, damage, message, capsys):
    good = small.read_bytes()
    damage(small)
    with pytest.raises(WeightsError, match=message) as caught:
        load(NAME, small, device="cpu")
    assert FILE in str(caught.value)
    assert capsys.readouterr().out == ""
    small.write_bytes(good)
    load(NAME, small, device="cpu")  # it is not compared with the wrong one
    assert small.with_name(f"{FILE}.check.json").is_file()
    small.write_bytes(good[:-1])
    with pytest.raises(WeightsError, match="when it was first used"):
        load(NAME, small, device="cpu")


def test_a_damaged_file_of_the_hub(small):
    blob = small.with_name("0" * 64)
    small.rename(blob)
    small.symlink_to(blob)
    damage_end(blob)
    with pytest.raises(WeightsError, match=rf"on the hub it is 0+\. Delete {blob} and {small}, then fetch it again"):
        load(NAME, small, device="cpu")


def test_a_federated_detector(released, tmp_path, monkeypatch):
    cfg = load_config(released / "recipe.yaml")
    cfg.model.num_classes = 1203
    cfg.model.class_loss = L(FederatedLoss)(num_classes=1203, image_counts=L(class_image_counts)(json_file="no.json"))
    save_config(cfg, tmp_path / "recipe.yaml")
    entry = Entry("small_lvis", FILE, str(tmp_path / "recipe.yaml"), "lvis", ("model.class_loss.image_counts=null",))
    monkeypatch.setattr("pe_dense.model_zoo.entries.ENTRIES", (entry,))
    cfg.model.class_loss.image_counts = [4] * 1203
    torch.save({"model": to_detectron2(instantiate(cfg.model).state_dict())}, tmp_path / FILE)
    predictor = load("small_lvis", tmp_path / FILE, "cpu")
    weights = predictor.model.roi_heads.box_predictor.class_loss.class_weights
    assert weights.tolist() == [2.0] * 1203
    found = predictor(IMAGE)
    assert len(found) == 5
    assert [predictor.categories.names[c] for c in found.classes]


def test_deta(tmp_path, monkeypatch):
    encoder = L(PerceptionEncoder)(embed_dim=16, depth=1, num_heads=2, mlp_dim=32, patch_size=16, grid_size=4)
    cfg = load_config(ROOT / "projects" / "deta" / "configs" / "coco_1824.py")
    cfg.model = L(build_deta)(
        backbone=L(DetaPyramid)(backbone=encoder), hidden_dim=16, num_heads=2, num_encoder_layers=1, num_queries=7,
        num_decoder_layers=1, num_levels=3, feedforward_dim=8, num_classes=91,
        class_columns=cfg.choices.coco.class_columns, trust_args=cfg.model.trust_args,
    )  # fmt: skip
    save_config(cfg, tmp_path / "recipe.yaml")
    entry = Entry("small_deta", "deta.pth", str(tmp_path / "recipe.yaml"), "coco")
    monkeypatch.setattr("pe_dense.model_zoo.entries.ENTRIES", (entry,))
    torch.manual_seed(0)
    model = instantiate(cfg.model)
    torch.save({"model": to_released(model.state_dict()), "args": argparse.Namespace(lr=1)}, tmp_path / "deta.pth")
    predictor = load("small_deta", tmp_path / "deta.pth", "cpu", overrides=["dataloader.test.transforms=[]"])
    found, expected = predictor(IMAGE), type(predictor)(model, device="cpu")(IMAGE)
    assert len(found) > 0
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.classes, expected.classes)
