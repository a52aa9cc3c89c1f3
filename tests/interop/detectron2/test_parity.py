"""Mask R-CNN and the federated loss are those of the real detectron2."""

import pytest
import torch

pytest.importorskip("detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError)

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import get_fed_loss_cls_weights
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from pe_dense.engine import Checkpoint, save_checkpoint
from pe_dense.interop.detectron2 import PyramidBackbone, from_detectron2, to_detectron2
from pe_dense.layers.box_coder import BoxCoder
from pe_dense.model_zoo import export_detectron2
from pe_dense.modeling.detection import BoxPredictor, FederatedLoss
from pe_dense.modeling.detection.regions import Samples
from pe_dense.modeling.detection.released import load_released

from .helpers import CLASSES, SIDE, our_rcnn, pyramid, samples, their_rcnn
from .test_backbones import simple_pyramid

CLOSE = {"atol": 1e-4, "rtol": 0}


COUNTS = [9, 4, 1]
KINDS = {  # all classes are in the samples, so that no class of the federated loss is left to chance
    "its-softmax": (simple_pyramid, {}, None),
    "ours-softmax": (lambda: PyramidBackbone(pyramid(), SIDE), {}, None),
    "ours-federated": (
        lambda: PyramidBackbone(pyramid(), SIDE),
        {
            "use_fed_loss": True,
            "use_sigmoid_ce": True,
            "get_fed_loss_cls_weights": lambda: torch.ones(CLASSES),
            "fed_loss_num_classes": CLASSES,
        },
        FederatedLoss(CLASSES, COUNTS, num_sampled=CLASSES),
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def ours(kind):
    return our_rcnn(class_loss=kind[2])


@pytest.fixture(scope="module")
def theirs(kind, ours, tmp_path_factory):
    """The real thing, on its own pyramid and on ours, with the weights of a checkpoint of ours that was exported."""
    folder = tmp_path_factory.mktemp("export")
    save_checkpoint(Checkpoint(folder / "x.safetensors", ours.state_dict(), 0, "", None, {}))
    export_detectron2(folder / "x.safetensors", folder / "x.pth")
    model = their_rcnn(kind[0](), **kind[1])
    DetectionCheckpointer(model).load(str(folder / "x.pth"))
    stored = torch.load(folder / "x.pth")["model"]
    loaded = model.state_dict()
    assert stored.keys() == loaded.keys()
    assert all(torch.equal(loaded[name], value) for name, value in stored.items())
    return model


def test_detections(ours, theirs):
    with torch.no_grad():
        expected = [from_detectron2(o["instances"]) for o in theirs.eval()(samples())]
        found = [o["instances"] for o in ours.eval()(samples())]
    for a, b in zip(found, expected):
        assert len(a) == len(b) > 5
        assert a.image_size == b.image_size
        assert torch.equal(a.classes, b.classes)
        torch.testing.assert_close(a.scores, b.scores, **CLOSE)
        torch.testing.assert_close(a.boxes, b.boxes, **CLOSE)
        assert torch.equal(a.masks.bitmasks(), b.masks)
        assert b.masks.any(dim=(1, 2)).sum() > 3


def test_their_checkpoints_are_released_files_to_ours(kind, ours, theirs, tmp_path):
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    DetectionCheckpointer(theirs, str(tmp_path), optimizer=optimizer).save("model_0000009", iteration=9)
    again = our_rcnn(class_loss=kind[2])
    for parameter in again.parameters():
        torch.nn.init.zeros_(parameter)
    load_released(again, tmp_path / "model_0000009.pth")
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), again.parameters()))


def test_losses_and_gradients(ours, theirs):
    batch = samples()
    found = ours.train()(batch)
    with EventStorage():
        expected = theirs.train()([s | {"instances": to_detectron2(s["instances"], targets=True)} for s in batch])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **CLOSE)
    for losses, model in ((found, ours), (expected, theirs)):
        model.zero_grad()
        sum(losses.values()).backward()
    a = ours.backbone.backbone.conv1.weight.grad
    b = next(p.grad for name, p in theirs.named_parameters() if name.endswith("conv1.weight"))
    torch.testing.assert_close(a, b, **CLOSE)


K, DRAWN = 40, 12


@pytest.fixture
def predictors():
    """Their LVIS predictor and ours, with the same weights and class counts."""
    torch.manual_seed(0)
    counts = torch.randint(0, 500, (K,)).tolist()
    name = "interop_federated"
    rows = [{"id": i + 1, "image_count": count} for i, count in enumerate(counts)]
    MetadataCatalog.pop(name, None)
    MetadataCatalog.get(name).class_image_count = rows[::-1]
    weights = (10.0, 10.0, 5.0, 5.0)
    theirs = FastRCNNOutputLayers(
        ShapeSpec(channels=32), box2box_transform=Box2BoxTransform(weights), num_classes=K, use_fed_loss=True,
        use_sigmoid_ce=True, get_fed_loss_cls_weights=lambda: get_fed_loss_cls_weights(name, 0.5),
        fed_loss_num_classes=DRAWN,
    )  # fmt: skip
    ours = BoxPredictor(32, K, BoxCoder(weights), class_loss=FederatedLoss(K, counts, 0.5, DRAWN))
    for part in ("cls_score", "bbox_pred"):
        torch.nn.init.normal_(getattr(ours, part).weight, std=0.3)
        getattr(theirs, part).load_state_dict(getattr(ours, part).state_dict())
    return ours, theirs


@pytest.mark.parametrize("present", [3, 30], ids=["few", "more than are drawn"])
def test_federated_loss(predictors, monkeypatch, present):
    ours, theirs = predictors
    assert torch.equal(ours.class_loss.class_weights, theirs.fed_loss_cls_weights)
    features = torch.randn(64, 32)
    corners = torch.rand(2, 64, 2) * 50
    boxes, goals = (torch.cat([c, c + torch.rand(64, 2) * 40 + 5], dim=1) for c in corners)
    classes = torch.randint(0, present, (64,))
    classes[::3] = K  # background
    regions = Instances((100, 100), proposal_boxes=Boxes(boxes), gt_boxes=Boxes(goals), gt_classes=classes)

    drawn = ours.class_loss.sample(classes)
    monkeypatch.setattr(ours.class_loss, "sample", lambda classes: drawn)
    with EventStorage():
        own = theirs.get_fed_loss_classes(classes, DRAWN, K, theirs.fed_loss_cls_weights)
        assert len(own) == drawn.sum() == max(DRAWN, len(classes.unique()))
        assert set(classes.tolist()) <= set(own.tolist())
        monkeypatch.setattr(theirs, "get_fed_loss_classes", lambda *args, **kwargs: drawn.nonzero()[:, 0])
        expected = theirs.losses(theirs(features), [regions])
    samples = Samples(boxes[None], classes[None], torch.zeros(1, 64, dtype=torch.int64), goals[None])
    found = ours.losses(*ours(features), samples)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=1e-5)
    torch.testing.assert_close(
        ours.probabilities(ours(features)[0]), theirs.predict_probs(theirs(features), [regions])[0][:, :-1]
    )
