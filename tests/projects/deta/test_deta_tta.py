import pytest
import torch

from pe_dense.modeling.backbone import PerceptionEncoder
from projects.deta import DetaPyramid, Selection, build_deta, released_tta

OPTIONS = {
    "num_classes": 3, "num_queries": 30, "hidden_dim": 24, "num_heads": 2, "num_encoder_layers": 1,
    "num_decoder_layers": 2, "feedforward_dim": 8,
}  # fmt: skip


def tiny(**options):
    torch.manual_seed(0)
    return build_deta(DetaPyramid(PerceptionEncoder(16, 1, 2, 32, patch_size=16, grid_size=4)), **OPTIONS, **options)


@pytest.mark.parametrize(("square_size", "views"), [(1728, 3), (1824, 4)])
def test_released_sizes(square_size, views):
    tta = released_tta(square_size)
    assert len(tta.sizes) == len(tta.side_limits) == views
    assert tta.sizes[0] == square_size - 32
    assert (tta.flip, tta.decay, tta.iou_threshold, tta.topk) == (True, "quad", 0.7, None)
    assert released_tta(square_size, topk=100).topk == 100
    with pytest.raises(ValueError, match="1728 and 1824"):
        released_tta(square_size - 1)


@torch.no_grad()
def test_released_augmentation_runs_with_more_queries():
    """On a model whose padded square is small: the sizes are those of the release all the same."""
    model = tiny(selection=Selection("quad", pre_topk=60, topk=None), tta=released_tta(1728, topk=25)).eval()
    shown = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: shown.append(tuple(inputs[0].shape[-2:])))
    [found] = model([{"image": torch.randint(0, 256, (3, 3, 60), dtype=torch.uint8), "height": 30, "width": 600}])
    assert shown == [(96, 1696), (96, 1696), (96, 1536), (96, 1536), (64, 1152), (64, 1152)]
    found = found["instances"]
    assert found.image_size == (30, 600)
    assert 0 < len(found) <= 25
    assert (found.scores.diff() <= 0).all()
