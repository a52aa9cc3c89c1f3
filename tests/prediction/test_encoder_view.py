import logging

import numpy as np
import pytest
import torch

from pe_dense.config import LazyCall as L
from pe_dense.config import to_yaml
from pe_dense.data import ResizeShortestEdge
from pe_dense.engine import Checkpoint, save_checkpoint
from pe_dense.modeling.backbone import EncoderFeatures, PerceptionEncoder
from pe_dense.modeling.segmentation import build_linear_segmenter
from pe_dense.prediction import EncoderView, FeatureExtractor


def view(**options):
    torch.manual_seed(0)
    return EncoderView(PerceptionEncoder(32, 3, 2, 64, patch_size=8, grid_size=4, **options), device="cpu")


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_pictures_are_whole_patches_and_features_those_of_the_encoder():
    seen = view()
    picture = seen.shown(photo(35, 44))
    assert picture.shape == (32, 48, 3)
    assert seen.shown(picture) is not None
    assert np.array_equal(seen.shown(picture), picture)
    images = (torch.from_numpy(picture).permute(2, 0, 1)[None].float() - 127.5) / 127.5
    with torch.no_grad():
        expected = seen.encoder.forward_intermediates(images, [0, 2])
    found = seen.features(picture, [0, -1])
    assert all(torch.equal(a, b[0]) for a, b in zip(found, expected))
    assert seen.attention(picture, -1, (1, 1)).shape == (2, 4, 6)
    assert seen.block(-1) == 2
    with pytest.raises(ValueError, match=r"layer 3: the encoder has blocks 0\.\.2"):
        seen.block(3)


def test_random_towers_say_so_and_are_always_the_same(caplog):
    with caplog.at_level(logging.WARNING):
        first = EncoderView.from_tower("pe-spatial-t16-512", random=True, device="cpu", short_side=32)
    assert (
        "the weights of PE-Spatial-T16-512 are random: its features show colours and edges, no meaning" in caplog.text
    )
    second = EncoderView.from_tower("PE-Spatial-T16-512", random=True, device="cpu", short_side=32)
    picture = first.shown(photo(60, 80))
    assert picture.shape == (32, 48, 3)
    assert torch.equal(first.features(picture, [0])[0], second.features(picture, [0])[0])
    with pytest.raises(ValueError, match=r"encoder PE-Best is unknown: choose one of PE-Core-T16-384"):
        EncoderView.from_tower("PE-Best")
    with pytest.raises(ValueError, match=r"both random weights and the weights x\.pt"):
        EncoderView.from_tower("PE-Spatial-T16-512", "x.pt", random=True)
    with pytest.raises(FileNotFoundError, match=r"x\.pt does not exist"):
        EncoderView.from_tower("PE-Spatial-T16-512", "x.pt", device="cpu")


def test_from_the_checkpoint_of_a_run(tmp_path):
    encoder = L(PerceptionEncoder)(embed_dim=32, depth=2, num_heads=2, mlp_dim=32, patch_size=8, grid_size=4)
    node = L(build_linear_segmenter)(backbone=L(EncoderFeatures)(backbone=encoder), num_classes=3, pixel_mean=[1, 2, 3])
    torch.manual_seed(3)
    model = build_linear_segmenter(EncoderFeatures(PerceptionEncoder(32, 2, 2, 32, 8, 4)), 3)
    test = {"transforms": [L(ResizeShortestEdge)(short_edge_length=24)]}
    cfg = {"model": node, "dataloader": {"test": test}, "train": {"output_dir": "x"}}
    path = tmp_path / "best.safetensors"
    save_checkpoint(Checkpoint(path, model.state_dict(), 0, to_yaml(cfg), None, {}))
    found = EncoderView.from_checkpoint(path, device="cpu")
    assert found.mean.flatten().tolist() == [1, 2, 3]
    assert found.shown(photo(60, 90)).shape == (24, 40, 3)
    maps = FeatureExtractor(found.encoder, pixel_mean=found.mean, pixel_std=found.std, device="cpu")(photo(24, 40))
    assert torch.equal(maps[-1][0], found.features(photo(24, 40), [-1])[0])
    assert EncoderView.from_checkpoint(path, 48, "cpu").shown(photo(60, 90)).shape == (48, 72, 3)
    for ours, theirs in zip(found.encoder.parameters(), model.backbone.backbone.parameters()):
        assert torch.equal(ours, theirs)
