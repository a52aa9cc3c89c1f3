from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from pe_dense.modeling.backbone import EncoderShape, FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection import MaskRCNN, build_mask_rcnn
from pe_dense.modeling.multitask import MultiTaskModel
from pe_dense.modeling.tracking.association.appearance import AppearanceDetector, pool_appearance
from pe_dense.structures import Instances, RoiMasks


def make_encoder() -> PerceptionEncoder:
    torch.manual_seed(0)
    return PerceptionEncoder(
        embed_dim=32, depth=3, num_heads=2, mlp_dim=64, patch_size=4, grid_size=16, layer_scale=0.1,
        window_size=4, global_blocks=(2,),
    )  # fmt: skip


def make_detector(encoder: PerceptionEncoder | EncoderShape, layer: int = 1) -> MaskRCNN:
    return build_mask_rcnn(
        FeaturePyramid(encoder, out_channels=16, layers=[layer], levels=["p4", "p5", "p6"]),
        num_classes=2, square_size=None, conv_dim=8, fc_dim=16, anchor_sizes=[8, 16, 32],
        test_topk_per_image=7,
    ).eval()  # fmt: skip


def samples() -> list[dict[str, Any]]:
    torch.manual_seed(1)
    images = [torch.randint(0, 255, size, dtype=torch.uint8) for size in ((3, 40, 64), (3, 62, 50))]
    return [{"image": i, "height": 2 * i.shape[1], "width": 2 * i.shape[2]} for i in images]


@pytest.mark.parametrize("layer", [0, 1, 2, -1])
@torch.no_grad()
def test_from_the_detectors_own_pass(layer: int) -> None:
    encoder = make_encoder()
    detector = make_detector(encoder)
    plain = detector(samples())
    blocks: list[int] = []
    handles = [b.register_forward_hook(lambda *_, i=i: blocks.append(i)) for i, b in enumerate(encoder.blocks)]
    outputs = AppearanceDetector(detector, layer).eval()(samples())
    for handle in handles:
        handle.remove()
    assert blocks == list(range(max(layer % 3, 1) + 1))  # each block once, and none in vain
    maps = encoder.forward_intermediates(detector.preprocess(samples()).tensor, [layer])[0]
    for output, same, sample, grid in zip(outputs, plain, samples(), maps):
        found = output["instances"]
        assert len(found)
        torch.testing.assert_close(found.boxes, same["instances"].boxes)
        expected = pool_appearance(grid, found, sample["image"].shape[1:], 4)
        torch.testing.assert_close(output["embeddings"], expected)
        torch.testing.assert_close(expected.norm(dim=1), torch.ones(len(found)))
    assert encoder._kept == {}


@torch.no_grad()
def test_several_tasks_share_the_encoder() -> None:
    encoder = make_encoder()
    shape = EncoderShape(embed_dim=32, depth=3, patch_size=4)
    model = MultiTaskModel(encoder, {"boxes": make_detector(shape)}).eval()
    outputs = AppearanceDetector(model, 2, "mask").eval()(samples())
    assert [len(o["embeddings"]) for o in outputs] == [len(o["instances"]) for o in outputs]


def map_of_halves() -> torch.Tensor:
    """2 x 8 x 12: the left half of the image is (1, 0), the right one (0, 1); two columns of padding."""
    grid = torch.zeros(2, 8, 12)
    grid[0, :, :5], grid[1, :, 5:10], grid[:, :, 10:] = 1, 1, 99
    return grid


def test_pooling_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 30, 30], [60, 10, 100, 80], [0, 0, 100, 80]])
    found = Instances((80, 100), boxes)  # a cell is 10 pixels of the original image, 5 of the input
    vectors = pool_appearance(map_of_halves(), found, (40, 50), 5)
    half = 0.5**0.5
    torch.testing.assert_close(vectors[:2], torch.tensor([[half, -half], [-half, half]]))
    assert vectors[2].norm() < 1.01  # all of the image is as its mean


@pytest.mark.parametrize("rois", [True, False])
def test_masks_leave_the_background_out(rois: bool) -> None:
    boxes = torch.tensor([[20.0, 0, 100, 80], [0, 0, 30, 30]])
    bits = torch.zeros(2, 80, 100, dtype=torch.bool)
    bits[0, :, 20:50] = True  # the second one's is empty
    probs = torch.zeros(2, 8, 8)
    probs[0, :, :3] = 1
    masks = RoiMasks(probs, boxes, (80, 100)) if rois else bits
    found = Instances((80, 100), boxes, masks=masks)
    half = 0.5**0.5
    by_box = pool_appearance(map_of_halves(), found, (40, 50), 5)
    by_mask = pool_appearance(map_of_halves(), found, (40, 50), 5, "mask")
    assert by_box[0, 0] < 0 < by_mask[0, 0]
    torch.testing.assert_close(by_mask[1], torch.tensor([half, -half]))
    with pytest.raises(ValueError, match='no masks; take pooling="box"'):
        pool_appearance(map_of_halves(), Instances((80, 100), boxes), (40, 50), 5, "mask")


def test_models_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="has 0 encoders"):
        AppearanceDetector(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"layer 3: the encoder has blocks 0..2"):
        AppearanceDetector(make_detector(make_encoder()), 3)
    with pytest.raises(ValueError, match='"box" or "mask"'):
        AppearanceDetector(make_detector(make_encoder()), 1, "boxes")  # type: ignore[arg-type]
    model = AppearanceDetector(make_detector(make_encoder())).eval()
    with (
        patch.object(MaskRCNN, "from_features", lambda *_: [{"depth": 0}] * 2),
        pytest.raises(ValueError, match="predicts depth and no objects"),
    ):
        model(samples())


def test_nothing_found() -> None:
    assert pool_appearance(map_of_halves(), Instances.empty((80, 100)), (40, 50), 5).shape == (0, 2)
