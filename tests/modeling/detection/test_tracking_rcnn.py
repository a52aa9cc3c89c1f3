"""A detector that gives embeddings: training, frozen and not, and prediction in the detector's own pass."""

import pytest
import torch

from pe_dense.modeling.detection import TrackingRCNN, build_tracking_rcnn
from pe_dense.modeling.detection.identity import BACKGROUND, UNUSED
from pe_dense.modeling.detection.regions import Proposals

from .helpers import make_sample

SMALL = {"embed_dim": 8, "num_convs": 1, "conv_dim": 16, "fc_dim": 16, "regions_per_image": 24}


@pytest.fixture
def tracking(tiny):
    def build(freeze_detector=True, cascade=False, **options):
        detector = tiny(cascade, with_masks=options.pop("with_masks", False), test_score_thresh=0.0, **options)
        return build_tracking_rcnn(detector, freeze_detector, **SMALL)

    return build


def pair(masks=False, track_ids=((4, 5), (5, 6))):
    samples = []
    for seed, ids in enumerate(track_ids):
        boxes = [[8 + 4 * seed, 8, 40 + 4 * seed, 40], [30, 36 - seed, 60, 60]][: len(ids)]
        sample = make_sample((64, 64), boxes, [1, 2][: len(ids)], seed=seed, masks=masks)
        sample["instances"].track_ids = torch.tensor(ids)
        samples.append(sample)
    return samples


@pytest.mark.parametrize("cascade", [False, True])
def test_frozen_detector_trains_the_head_alone(tracking, cascade):
    model = tracking(cascade=cascade, with_masks=True)  # samples need no masks
    model.train()
    assert model.training
    assert not model.backbone.training
    losses = model(pair())
    assert set(losses) == {"loss_identity", "loss_similarity"}
    assert losses["loss_identity"] > 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("identity_head.") == parameter.requires_grad, name
        assert parameter.grad is None or (parameter.grad.isfinite().all() and parameter.grad.any())


@pytest.mark.parametrize("track_ids", [((4, 5), (5, 6)), ((4, 5), (6, 7)), ((4, 5), ())])
def test_all_of_it_trains(tracking, track_ids):
    model = tracking(freeze_detector=False)
    losses = model(pair(track_ids=track_ids))
    assert set(losses) == {
        "loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_identity", "loss_similarity",
    }  # fmt: skip
    assert (losses["loss_identity"] == 0) == (5 not in track_ids[1])  # no id in common
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
def test_detections_are_those_of_the_detector_and_embeddings_of_their_boxes(tiny, tracking):
    detector = tiny(with_masks=False, test_score_thresh=0.0).eval()
    model = tracking().eval()
    missing = model.load_state_dict(detector.state_dict(), strict=False)
    assert all(name.startswith("identity_head.") for name in missing.missing_keys)
    assert not missing.unexpected_keys
    samples = [{**s, "height": 128, "width": 192} for s in pair()]
    outputs = model(samples)
    for output, expected in zip(outputs, detector(samples)):
        assert len(output["instances"]) > 3
        torch.testing.assert_close(output["instances"].boxes, expected["instances"].boxes)
        assert output["embeddings"].shape == (len(output["instances"]), 8)
    # the second image's: its boxes, in the coordinates of the 64 x 64 pixels that the model saw
    boxes = outputs[1]["instances"].boxes / torch.tensor([3.0, 2, 3, 2])
    features = model.backbone(model.preprocess(samples).tensor)
    levels = [features[name] for name in model.roi_heads.in_features]
    expected = model.identity_head(levels, boxes, torch.ones(len(boxes)))
    torch.testing.assert_close(outputs[1]["embeddings"], expected)


@torch.no_grad()
def test_no_detections_no_embeddings(tracking):
    model = tracking().eval()
    model.roi_heads.test_score_thresh = 1.0
    assert [output["embeddings"].shape for output in model(pair())] == [(0, 8), (0, 8)]


def test_regions_to_learn_from(tracking):
    """Proposals take the identity of the object that they lie on; true boxes are among them; others are background."""
    model = tracking()
    targets = model.targets(pair())
    near = targets.boxes[:, :1] + torch.tensor([1.0, 0, 1, 0])
    far = torch.tensor([[0.0, 50, 8, 60]]).expand(2, 1, 4)
    half = targets.boxes[:, :1] + torch.tensor([11.0, 0, 11, 0])  # IoU about 0.5: neither
    unused = torch.zeros(2, 1, 4)
    proposals = Proposals(
        torch.cat([near, far, half, unused], 1), torch.zeros(2, 4), torch.tensor([[True, True, True, False]] * 2)
    )
    boxes, identities = model._regions(proposals, targets)
    used = [sorted(row[row != UNUSED].tolist()) for row in identities]
    assert used == [[BACKGROUND, 4, 4, 5], [BACKGROUND, 5, 5, 6]]
    assert (boxes[identities == UNUSED] == 0).all()
    assert torch.equal(boxes[identities == BACKGROUND], torch.tensor([[0.0, 50, 8, 60]]).expand(2, 4))


def test_unusable_samples(tracking):
    frozen, whole = tracking(), tracking(freeze_detector=False)
    samples = pair()
    with pytest.raises(ValueError, match="3 frames in one pass, but they come in pairs"):
        frozen([*samples, samples[0]])
    for model in (frozen, whole):
        broken = pair()
        broken[1]["instances"].track_ids = None
        broken[1]["file_name"] = "x.jpg"
        with pytest.raises(ValueError, match=r"x\.jpg: training an identity head needs 'instances' with track_ids"):
            model(broken)
    samples[0]["instances"].classes[:] = -1
    assert frozen(samples)["loss_identity"] > 0
    with pytest.raises(ValueError, match="the detector trains, but its objects have no class"):
        whole(samples)
    with pytest.raises(ValueError, match="with_masks=false"):
        tracking(freeze_detector=False, with_masks=True)(pair())


def test_a_head_learns_to_tell_two_objects_apart(tracking):
    torch.manual_seed(1)
    model = tracking()
    assert isinstance(model, TrackingRCNN)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    samples = pair(track_ids=((4, 5), (4, 5)))
    first = last = None
    for _ in range(30):
        loss = sum(model(samples).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if first is None else first), loss.item()
    assert last < first / 3
