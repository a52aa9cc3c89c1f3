"""Detectors from a config: released weights, anchors."""

import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf

from pe_dense.config import LazyCall as L
from pe_dense.config import apply_overrides, from_yaml, instantiate, to_yaml
from pe_dense.engine.run import without_pretrained
from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder, WeightsError
from pe_dense.modeling.detection import build_cascade_mask_rcnn, build_mask_rcnn, to_detectron2

from .helpers import make_sample

TOWER = {"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_dim": 64, "patch_size": 16, "grid_size": 4}


def config(build=build_mask_rcnn, **options):
    """As a recipe writes it, after a round trip through a run directory."""
    pyramid = L(FeaturePyramid)(backbone=L(PerceptionEncoder)(**TOWER), out_channels=16)
    model = L(build)(backbone=pyramid, num_classes=3, square_size=64, conv_dim=16, fc_dim=32, **options)
    return from_yaml(to_yaml(OmegaConf.create({"model": model})))


@pytest.mark.parametrize("build", [build_mask_rcnn, build_cascade_mask_rcnn])
@pytest.mark.parametrize("name", ["model.pth", "bare.pt", "bare.safetensors"])
def test_detector_from_a_file(tmp_path, build, name):
    source = instantiate(config(build).model)
    state = {key: value.contiguous() for key, value in to_detectron2(source.state_dict()).items()}
    path = tmp_path / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"model": state, "iteration": 7} if path.suffix == ".pth" else state, path)
    cfg = apply_overrides(config(build), [f"model.weights={path}"])  # an argument the recipe does not mention
    model = instantiate(cfg.model)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())
    sample = make_sample((64, 64), [[8, 8, 40, 48]], [1])
    with torch.no_grad():
        a, b = (m.eval()([sample])[0]["instances"] for m in (model, source))
    assert torch.equal(a.boxes, b.boxes)
    path.unlink()
    instantiate(without_pretrained(cfg).model)  # a run's own checkpoint needs the file no more


def test_files_that_do_not_fit(tmp_path):
    path = tmp_path / "detector.pth"
    cfg = config(weights=str(path))
    with pytest.raises(FileNotFoundError, match=r"detector\.pth does not exist; give the path of a released detector"):
        instantiate(cfg.model)
    model = instantiate(config().model)
    torch.save(model.backbone.backbone.state_dict(), path)
    with pytest.raises(WeightsError, match=r"an encoder's file goes to .*\n(.*\n)+  \.\.\. and 16 more"):
        instantiate(cfg.model)
    torch.save({"model": model.state_dict()}, path)
    with pytest.raises(WeightsError, match=r"a checkpoint of a run to train\.init_from or --checkpoint"):
        instantiate(cfg.model)
    torch.save({"model": to_detectron2(model.state_dict())}, path)
    with pytest.raises(WeightsError, match=r"does not fit the model in 6 keys.*\n(.*\n)+.*\(file \(4,\), model \(5,\)"):
        instantiate(apply_overrides(cfg, ["model.num_classes=4"]).model)
    with pytest.raises(WeightsError, match=r"box_head.convs.0.weight \(not in the model\)"):
        instantiate(config(build_cascade_mask_rcnn, weights=str(path)).model)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match=r"detector\.pth cannot be read as weights .* truncated"):
        instantiate(cfg.model)


@pytest.mark.parametrize("build", [build_mask_rcnn, build_cascade_mask_rcnn])
def test_several_anchor_sizes_per_level(build):
    sizes = [[8, 12], [16, 24], [32, 48], [64, 96], [128, 192]]
    model = instantiate(config(build, anchor_sizes=sizes).model)
    assert model.proposal_generator.anchor_generator.num_anchors == 2 * 3
    shapes = [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    for level, wanted in zip(model.proposal_generator.anchor_generator(shapes, "cpu"), sizes):
        areas = (level[:6, 2] - level[:6, 0]) * (level[:6, 3] - level[:6, 1])
        assert areas.sqrt().tolist() == pytest.approx([side for side in wanted for _ in range(3)], rel=1e-5)
    losses = model.train()([make_sample((64, 64), [[8, 8, 40, 48]], [1])])
    assert all(loss.isfinite() for loss in losses.values())
