"""Models built without memory and initialised afterwards are as good as models built normally."""

import pytest
import torch

from pe_dense.engine.initialization import initialize
from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder
from pe_dense.modeling.detection import build_cascade_mask_rcnn, build_mask_rcnn

WINDOWED = {"layer_scale": 0.3, "window_size": 2, "global_blocks": (1,), "drop_path_rate": 0.2}
WHOLE = {"use_cls_token": True, "use_ln_post": True, "pool": True, "output_dim": 24}


def encoder(**options):
    return PerceptionEncoder(64, 2, 2, 96, patch_size=8, grid_size=4, **options)


def detector(build, **options):
    return build(FeaturePyramid(encoder(**WINDOWED), 32, **options), 5, conv_dim=16, fc_dim=48)


MODELS = {
    "tower with all parts": lambda: encoder(**WHOLE),
    "weighted": lambda: detector(build_mask_rcnn, mode="weighted", layers=[0, 1]),
    "per_level": lambda: detector(build_mask_rcnn, mode="per_level", layers=[0, 0, 1, 1], trainable_blocks=1),
    "cascade": lambda: detector(build_cascade_mask_rcnn),
}


@pytest.mark.parametrize("name", MODELS)
def test_initialised_after_the_meta_device(name):
    torch.manual_seed(0)
    normal = MODELS[name]()
    with torch.device("meta"):
        model = MODELS[name]()
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(float("nan"))
    initialize(model)
    for (key, p), q in zip(normal.named_parameters(), model.parameters()):
        assert p.requires_grad == q.requires_grad, key
        a, b = p.detach(), q.detach()
        if (a == a.flatten()[0]).all():
            assert torch.equal(a, b), key
            continue
        spread, count = a.std().item(), a.numel()
        assert b.std().item() == pytest.approx(spread, rel=6 / count**0.5), key  # six standard errors, as is the next
        assert b.mean().item() == pytest.approx(a.mean().item(), abs=9 * spread / count**0.5), key
        if count > 200:  # a uniform distribution has no tails
            assert (b.abs().max() < 1.8 * spread) == (a.abs().max() < 1.8 * spread), key


def test_what_does_not_lie_in_the_state_dict_is_right_after_the_meta_device():
    samples = [{"image": torch.randint(0, 255, (3, 64, 48), dtype=torch.uint8)}]
    with torch.device("meta"):
        model = detector(build_mask_rcnn, mode="weighted", layers=[0, 1])
    model.to_empty(device="cpu")
    initialize(model)
    normal = detector(build_mask_rcnn, mode="weighted", layers=[0, 1])
    normal.load_state_dict(model.state_dict())
    assert [b.drop_path.rate for b in model.backbone.backbone.blocks] == pytest.approx([0, 0.2])
    with torch.no_grad():
        a, b = (m.eval()(samples)[0]["instances"] for m in (model, normal))
    assert torch.equal(a.boxes, b.boxes)
    assert torch.equal(a.masks.probs, b.masks.probs)
