"""The whole model: losses, predictions and what a bad sample says."""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pe_dense.engine.ema import Ema
from pe_dense.engine.initialization import initialize
from pe_dense.modeling.backbone import EncoderFeatures, PerceptionEncoder
from pe_dense.modeling.depth import DepthBins, DepthEstimator, GradientLogLoss, LinearDepthHead, SigLoss

KINDS = [
    ("linear", {}),
    ("linear", {"layers": [0, 1, 2, 3], "norm": "sync_bn", "spacing": "log"}),
    ("linear", {"cls": False, "use_cls": False, "upsample": 1, "normalization": "softmax"}),
    ("dpt", {}),
    ("dpt", {"layers": [0, 1, 2, 3], "readout": "ignore", "bins": 16}),
    ("dpt", {"output": "relative_disparity"}),
    ("dpt", {"output": "relative_depth"}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_losses_reach_every_parameter(tiny, sample, kind, options):
    model = tiny(kind, **options)
    losses = model([sample(24, 40), sample(32, 16, seed=1)])
    assert list(losses) == ["loss_ssi" if "relative" in options.get("output", "") else "loss_sig"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_nothing_known_gives_zero_with_a_graph(tiny, sample, kind, options):
    model = tiny(kind, **options)
    empty = sample(24, 40)
    empty["depth"] = torch.zeros(24, 40)
    loss = sum(model([empty]).values())
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", ["linear", "dpt"])
def test_a_frozen_encoder_makes_no_graph(tiny, sample, kind):
    model = tiny(kind, trainable=0)
    seen = []
    model.backbone.register_forward_hook(lambda module, args, output: seen.extend(output))
    model([sample(24, 40)])["loss_sig"].backward()
    assert seen
    assert all(layer.map.grad_fn is None and layer.cls.grad_fn is None for layer in seen)
    assert all(p.grad is None for p in model.backbone.parameters())


def test_padding_and_depth_beyond_the_range_do_not_count(tiny, sample):
    model = tiny("linear", max_depth=3.0)
    small = sample(24, 40)
    padded = model.head(model.backbone(model.preprocess([small, sample(48, 48)]).tensor))[:1]
    depth = F.interpolate(padded, (48, 48), mode="bilinear", align_corners=False)[..., :24, :40]
    truth = small["depth"][None, None]
    known = (truth > 0) & (truth <= 3)
    blank = {**sample(48, 48), "depth": torch.zeros(48, 48)}
    expected = SigLoss(warmup_calls=1)(depth, truth, known)
    torch.testing.assert_close(model([small, blank])["loss_sig"], expected)


def test_disparity_is_compared_with_disparity(tiny, sample):
    model = tiny("dpt", output="relative_disparity")
    one = sample(32, 32)
    known = (one["depth"] > 0)[None, None]
    expected = {}
    features = model.backbone(model.preprocess([one]).tensor)
    depth = F.interpolate(model.head(features), (32, 32), mode="bilinear", align_corners=False)
    expected["loss_ssi"] = model.losses["loss_ssi"](depth, 1 / one["depth"].clamp(min=1)[None, None], known)
    torch.testing.assert_close(model([one]), expected)


def test_several_losses(sample):
    neck = EncoderFeatures(PerceptionEncoder(32, 2, 2, 64, patch_size=8, grid_size=4, use_cls_token=True))
    losses = {"loss_sig": SigLoss(), "loss_gradient": GradientLogLoss()}
    model = DepthEstimator(neck, LinearDepthHead(32, DepthBins()), losses)
    assert list(model([sample(24, 40)])) == ["loss_sig", "loss_gradient"]


@torch.no_grad()
def test_predictions_have_the_original_size_and_range(tiny, sample):
    model = tiny("linear", max_depth=5.1, min_depth=5.0).eval()
    model.head.decoder.max_depth = 20.0
    outputs = model([sample(24, 40, height=50, width=77), sample(32, 16, seed=1)])
    assert [tuple(o["depth"].shape) for o in outputs] == [(50, 77), (32, 16)]
    for output in outputs:
        assert output["depth"].dtype == torch.float32
        assert output["depth"].max() == pytest.approx(5.1)


@torch.no_grad()
def test_an_image_of_the_batchs_size_is_the_heads_map_enlarged(tiny, sample):
    model = tiny().eval()
    [output] = model([sample(32, 32, height=64, width=48)])
    depth = model.head(model.backbone(model.preprocess([sample(32, 32)]).tensor))
    depth = F.interpolate(depth, (32, 32), mode="bilinear", align_corners=False)
    expected = F.interpolate(depth, (64, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(output["depth"], expected[0, 0])


@torch.no_grad()
def test_flip_averaging(tiny, sample):
    plain, flipping = tiny("dpt").eval(), tiny("dpt", flip_test=True).eval()
    samples = [sample(24, 40, height=48, width=80), sample(32, 16, seed=1)]
    mirrored = [{**s, "image": s["image"].flip(-1)} for s in samples]
    for found, straight, turned in zip(flipping(samples), plain(samples), plain(mirrored)):
        torch.testing.assert_close(found["depth"], (straight["depth"] + turned["depth"].flip(-1)) / 2)
    both = [o["depth"] for o in flipping(samples)]
    for one, other in zip(both, flipping(mirrored)):
        torch.testing.assert_close(one, other["depth"].flip(-1))


def test_flip_average_by_hand(tiny, monkeypatch: pytest.MonkeyPatch, fixtures: Path) -> None:
    case = json.loads((fixtures / "depth" / "expected.json").read_text())["flip_tta"]
    maps = [torch.tensor(case[name])[0, 0] for name in ("pred", "pred_of_flipped_image")]
    model = tiny(flip_test=True, max_depth=100.0).eval()
    monkeypatch.setattr(model, "_predict", lambda samples: [maps.pop(0)])
    [output] = model([{"image": torch.zeros(3, 2, 3, dtype=torch.uint8)}])
    torch.testing.assert_close(output["depth"], torch.tensor(case["average"])[0, 0])


@torch.no_grad()
def test_relative_depth_is_not_clamped(tiny, sample):
    model = tiny("dpt", output="relative_depth").eval()
    model.head.predictor.bias.fill_(500.0)
    [output] = model([sample(24, 40)])
    assert output["depth"].min() > 400


def test_training_samples_must_be_complete(tiny, sample):
    bare = {k: v for k, v in sample(24, 40).items() if k != "depth"}
    with pytest.raises(ValueError, match=r"0\.png: training needs 'depth'"):
        tiny()([bare])
    with pytest.raises(ValueError, match=r"0\.png: the depth is 40 x 24 but the image 24 x 40"):
        tiny()([{**bare, "depth": torch.ones(40, 24)}])
    assert len(tiny().eval()([bare])) == 1


def test_bfloat16_autocast(tiny, sample):
    for kind in ("linear", "dpt"):
        model = tiny(kind)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model([sample(24, 40)])["loss_sig"]
            [output] = model.eval()([sample(24, 40)])
        assert loss.dtype == output["depth"].dtype == torch.float32
        loss.backward()


def test_copies_and_the_meta_device(tiny, sample):
    with torch.device("meta"):
        model = tiny("dpt", bins=8, spacing="log")
    model.to_empty(device="cpu")
    initialize(model)
    assert model.losses["loss_sig"].calls == 0
    model.load_state_dict(tiny("dpt", bins=8, spacing="log").state_dict())
    expected = tiny("dpt", bins=8, spacing="log").eval()([sample(24, 40)])
    assert torch.equal(model.eval()([sample(24, 40)])[0]["depth"], expected[0]["depth"])


def test_the_moving_average_keeps_the_count_of_calls(tiny, sample):
    model = tiny()
    ema = Ema(model, 0.9)
    model([sample(24, 40)])
    ema.update(1)
    assert ema.state_dict()["losses.loss_sig.calls"] == 1
    with ema.applied():
        assert model.losses["loss_sig"].calls == 1


@pytest.mark.parametrize("kind", ["linear", "dpt"])
def test_a_few_steps_lower_the_loss(tiny, sample, kind):
    model = tiny(kind, losses={"loss_sig": SigLoss()})
    batch = [sample(24, 40), sample(32, 32, seed=1)]
    for one in batch:
        columns = one["depth"].shape[1]
        one["depth"] = torch.linspace(1, 6, columns).expand(one["depth"].shape).clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    values = []
    for _ in range(25):
        loss = model(copy.copy(batch))["loss_sig"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


def test_bad_arguments(tiny):
    with pytest.raises(ValueError, match="below max_depth"):
        tiny("dpt", min_depth=3.0, max_depth=2.0)
    with pytest.raises(ValueError, match='output "disparity" is unknown'):
        tiny("dpt", output="disparity", losses={"loss_sig": SigLoss()})
    with pytest.raises(ValueError, match="losses is empty"):
        tiny(losses={})
    with pytest.raises(ValueError, match="set bins to null"):
        tiny("dpt", bins=16, output="relative_depth")
