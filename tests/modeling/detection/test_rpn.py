import torch
import torch.nn.functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator as TorchvisionAnchors
from torchvision.models.detection.rpn import RegionProposalNetwork

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.modeling.detection import RPN, AnchorGenerator, Matcher, RPNHead
from pe_dense.modeling.detection.regions import Targets
from pe_dense.structures import Instances

SIZES = [(60, 64), (64, 40)]


def make_rpn(**options):
    torch.manual_seed(0)
    anchors = AnchorGenerator([[16], [32]], strides=[4, 8])
    matcher = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)
    rpn = RPN(RPNHead(8, 3), anchors, matcher, BoxCoder(), ["p2", "p3"], **options)
    torch.nn.init.normal_(rpn.head.deltas.weight, std=0.1)
    torch.nn.init.normal_(rpn.head.objectness.weight, std=1.0)
    return rpn


def pyramid():
    generator = torch.Generator().manual_seed(1)
    return {f"p{i}": torch.randn(2, 8, 64 // 2**i, 64 // 2**i, generator=generator) for i in (2, 3)}


def targets(boxes=((5, 5, 30, 40), (20, 10, 60, 50)), empty_second=True):
    first = Instances((60, 64), torch.tensor(boxes, dtype=torch.float32), classes=torch.zeros(len(boxes)).long())
    second = Instances.empty((64, 40)) if empty_second else first
    return Targets.from_instances([first, second])


def test_proposals_agree_with_torchvision():
    rpn = make_rpn(pre_nms_topk=(100, 80), post_nms_topk=(60, 40)).eval()
    features = pyramid()
    proposals, losses = rpn(features, SIZES)
    assert losses == {}
    anchors = rpn.anchor_generator([(16, 16), (8, 8)], "cpu")
    logits, deltas = rpn.head(list(features.values()))
    boxes = rpn.box_coder.decode(torch.cat(deltas, 1), torch.cat(anchors))
    topk = ({"training": 100, "testing": 80}, {"training": 60, "testing": 40})
    # torchvision's module is only used for its filter, the other arguments do not matter
    other = RegionProposalNetwork(TorchvisionAnchors(((16,),)), rpn.head, 0.7, 0.3, 256, 0.5, *topk, 0.7).eval()
    expected, scores = other.filter_proposals(boxes, torch.cat(logits, 1), SIZES, [x.shape[1] for x in logits])
    for i in range(2):
        valid = proposals.valid[i]
        torch.testing.assert_close(proposals.boxes[i][valid], expected[i])
        torch.testing.assert_close(proposals.logits[i][valid].sigmoid(), scores[i])


def test_proposals_lie_in_their_images_and_unused_slots_are_empty():
    rpn = make_rpn(pre_nms_topk=(500, 500), post_nms_topk=(2000, 2000), nms_thresh=0.01).eval()
    proposals, _ = rpn(pyramid(), SIZES)
    assert 0 < proposals.valid.sum() < proposals.valid.numel()
    assert (proposals.boxes[0] <= torch.tensor([64, 60, 64, 60])).all()
    assert (proposals.boxes[1] <= torch.tensor([40, 64, 40, 64])).all()
    assert (proposals.boxes >= 0).all()
    assert not proposals.boxes[~proposals.valid].any()
    assert (proposals.logits[~proposals.valid] == -torch.inf).all()


def test_an_image_gets_the_same_proposals_alone_and_in_a_batch():
    rpn = make_rpn(pre_nms_topk=(500, 300), post_nms_topk=(100, 50)).eval()
    features = pyramid()
    together, _ = rpn(features, SIZES)
    alone, _ = rpn({k: v[1:] for k, v in features.items()}, SIZES[1:])
    torch.testing.assert_close(together.boxes[1:], alone.boxes, atol=1e-4, rtol=1e-5)


def test_broken_predictions_give_no_broken_proposals():
    rpn = make_rpn().eval()
    features = pyramid()
    features["p2"][0, :, 3, 3] = float("nan")
    proposals, _ = rpn(features, SIZES)
    assert proposals.boxes.isfinite().all()
    assert proposals.valid.any(dim=1).all()


def test_losses_over_all_anchors_against_a_loop():
    rpn = make_rpn(batch_size_per_image=100_000, positive_fraction=0.5)
    features, truth = pyramid(), targets()
    _, losses = rpn(features, SIZES, truth)
    anchors = torch.cat(rpn.anchor_generator([(16, 16), (8, 8)], "cpu"))
    logits, deltas = (torch.cat(x, 1) for x in rpn.head(list(features.values())))
    cls, loc = 0.0, 0.0
    for i in range(2):
        index, labels = rpn.anchor_matcher.match_boxes(truth.boxes[i : i + 1], truth.valid[i : i + 1], anchors)
        positive, used = labels[0] == 1, labels[0] >= 0
        cls += F.binary_cross_entropy_with_logits(logits[i][used], positive[used].float(), reduction="sum")
        goals = rpn.box_coder.encode(anchors[positive], truth.boxes[i][index[0][positive]])
        loc += F.l1_loss(deltas[i][positive], goals, reduction="sum")
    torch.testing.assert_close(losses["loss_rpn_cls"], cls / 200_000)
    torch.testing.assert_close(losses["loss_rpn_loc"], loc / 200_000)


def test_a_batch_without_objects_trains_every_parameter():
    rpn = make_rpn()
    nothing = Targets.from_instances([Instances.empty(s) for s in SIZES])
    _, losses = rpn(pyramid(), SIZES, nothing)
    assert losses["loss_rpn_loc"] == 0
    assert losses["loss_rpn_cls"] > 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in rpn.parameters())
