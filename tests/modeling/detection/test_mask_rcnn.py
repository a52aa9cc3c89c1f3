import copy
import pickle

import pytest
import torch

from .helpers import make_sample


def batch(masks=True):
    return [
        make_sample((64, 64), [[8, 8, 40, 48], [30, 20, 60, 60]], [1, 2], masks=masks),
        make_sample((40, 64), [[4, 4, 30, 30]], [0], seed=1, masks=masks),
    ]


def test_losses_and_gradients(tiny):
    model = tiny()
    assert model.num_classes == 3
    losses = model(batch())
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("cascade", [False, True])
def test_a_batch_without_objects_trains_every_parameter(tiny, cascade):
    model = tiny(cascade)
    losses = model([make_sample((64, 64), [], []), make_sample((40, 64), [], [], seed=1)])
    assert all(v.isfinite() for v in losses.values())
    assert losses["loss_mask"] == losses["loss_rpn_loc"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_boxes_only_needs_no_masks(tiny):
    model = tiny(with_masks=False)
    assert "loss_mask" not in model(batch(masks=False))
    for output in model.eval()(batch(masks=False)):
        assert output["instances"].masks is None


def test_training_samples_must_be_complete(tiny):
    model, [first, second] = tiny(), batch()
    second = {**second, "file_name": "x.jpg"}
    del second["instances"]
    with pytest.raises(ValueError, match=r"x\.jpg: training needs 'instances'"):
        model([first, second])
    with pytest.raises(ValueError, match="with_masks=false"):
        model(batch(masks=False))
    first["instances"].classes[0] = 3
    with pytest.raises(ValueError, match="0: an object has class index 3 but the model has num_classes=3"):
        model([first])


@torch.no_grad()
@pytest.mark.parametrize("square_size", [64, None])
def test_predictions_in_original_coordinates_for_images_of_different_sizes(tiny, square_size):
    model = tiny(square_size=square_size, test_score_thresh=0.0, test_topk_per_image=9).eval()
    samples = [{**s, "height": s["image"].shape[1] * 3, "width": s["image"].shape[2] * 2} for s in batch()]
    for sample, output in zip(samples, model(samples)):
        found = output["instances"]
        assert found.image_size == (sample["height"], sample["width"])
        assert 0 < len(found) <= 9
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2] <= sample["width"]).all()
        assert (found.boxes[:, 3] <= sample["height"]).all()
        assert found.boxes[:, 3].max() > sample["image"].shape[1]  # scaled up
        assert found.masks.bitmasks().shape == (len(found), sample["height"], sample["width"])
        same = model([{"image": sample["image"]}])[0]["instances"]  # alone, and without a stated original size
        assert same.image_size == tuple(sample["image"].shape[1:])


@torch.no_grad()
def test_an_image_is_detected_the_same_alone_and_in_a_batch(tiny):
    model = tiny(test_score_thresh=0.0, test_topk_per_image=20).eval()
    samples = batch()
    for sample, output in zip(samples, model(samples)):
        alone, together = model([sample])[0]["instances"], output["instances"]
        torch.testing.assert_close(alone.boxes, together.boxes, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(alone.scores, together.scores, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cascade", [False, True])
def test_bfloat16_autocast(tiny, cascade):
    model = tiny(cascade)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(batch())
    assert all(v.dtype == torch.float32 and v.isfinite() for v in losses.values())
    sum(losses.values()).backward()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        [found, _] = (o["instances"] for o in model.eval()(batch()))
    assert found.boxes.dtype == found.scores.dtype == torch.float32


def test_training_works_after_inference_mode(tiny):
    model = tiny()
    with torch.inference_mode():
        model.eval()(batch())
    sum(model.train()(batch()).values()).backward()


def test_copies_and_the_meta_device(tiny):
    with torch.device("meta"):
        model = tiny()
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model.pixel_mean == (127.5, 127.5, 127.5)
    assert all("pixel" not in key for key in model.state_dict())
    real = tiny()
    state = real.state_dict()
    model = model.to_empty(device="cpu")
    model.load_state_dict(state)
    for other in (model, copy.deepcopy(real), pickle.loads(pickle.dumps(real))):
        with torch.no_grad():
            a, b = (m.eval()(batch())[0]["instances"] for m in (real, other))
        assert torch.equal(a.boxes, b.boxes)


@pytest.mark.parametrize("cascade", [False, True])
def test_a_few_steps_lower_the_loss(tiny, cascade):
    model, samples = tiny(cascade), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(30):
        losses = model(samples)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        # the box losses of a cascade's later stages rise at first: they see more and more objects
        history.append(sum(v.item() for k, v in losses.items() if "box_reg" not in k))
    assert sum(history[-5:]) < 0.6 * sum(history[:5])
