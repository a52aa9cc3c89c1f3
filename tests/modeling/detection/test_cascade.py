import pytest
import torch

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.modeling.detection import BoxHead, BoxPredictor, CascadeROIHeads, Matcher, ROIHeads, ROIPooler

from .helpers import SIZES, make_sample, proposals, pyramid, truth

WEIGHTS = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))


def make_cascade(ious=(0.5, 0.6, 0.7), class_agnostic=True, **options):
    torch.manual_seed(0)
    predictors = [BoxPredictor(16, 3, BoxCoder(w), class_agnostic) for w in WEIGHTS[: len(ious)]]
    for p in predictors:
        torch.nn.init.normal_(p.bbox_pred.weight, std=0.3)
    heads = [BoxHead(8, 7, [8], [16]) for _ in ious]
    return CascadeROIHeads(ROIPooler(7), heads, predictors, [Matcher([i], [0, 1]) for i in ious], **options)


def test_one_stage_is_the_plain_head():
    cascade = make_cascade([0.5])
    plain = ROIHeads(cascade.box_pooler, cascade.box_heads[0], cascade.box_predictors[0], Matcher([0.5], [0, 1]))
    a, b = cascade(pyramid(), proposals(), SIZES, truth())[1], plain(pyramid(), proposals(), SIZES, truth())[1]
    assert set(a) == {"loss_cls_stage0", "loss_box_reg_stage0"}
    for name, value in b.items():
        torch.testing.assert_close(a[f"{name}_stage0"], value)
    for x, y in zip(cascade.eval()(pyramid(), proposals(), SIZES)[0], plain.eval()(pyramid(), proposals(), SIZES)[0]):
        torch.testing.assert_close(x.boxes, y.boxes)
        torch.testing.assert_close(x.scores, y.scores)


def test_prediction_averages_scores_and_takes_the_last_boxes():
    cascade = make_cascade().eval()
    levels, boxes, image = list(pyramid().values()), proposals().boxes[0], torch.zeros(20, dtype=torch.int64)
    got_boxes, got_probs = cascade.classify(levels, boxes, image, SIZES)
    total = 0
    for head, predictor in zip(cascade.box_heads, cascade.box_predictors):
        logits, deltas = predictor(head(cascade.box_pooler(levels, boxes, image)))
        total = total + logits.softmax(1)
        boxes = predictor.box_coder.decode(deltas[:, 0], boxes).clamp(min=0)
        boxes = torch.minimum(boxes, torch.tensor([64.0, 60, 64, 60]))
    torch.testing.assert_close(got_boxes[:, 0], boxes)
    torch.testing.assert_close(got_probs, total[:, :3] / 3)


def test_later_stages_are_matched_at_their_own_overlap(monkeypatch):
    cascade = make_cascade()
    seen = []
    for predictor in cascade.box_predictors:
        plain = predictor.losses
        monkeypatch.setattr(predictor, "losses", lambda a, b, s, plain=plain: seen.append(s) or plain(a, b, s))
    found = truth()
    cascade(pyramid(), proposals(), SIZES, found)
    for samples, matcher in zip(seen, cascade.proposal_matchers):
        _, labels = matcher.match_boxes(found.boxes, found.valid, samples.boxes)
        used = samples.classes >= 0
        assert torch.equal(samples.foreground(3)[used], (labels == 1)[used])
        assert not samples.boxes.requires_grad
    assert not torch.equal(seen[0].boxes, seen[1].boxes)


def test_the_pyramid_gets_a_third_of_the_gradient():
    cascade = make_cascade()
    levels = [x.requires_grad_() for x in pyramid().values()]
    boxes, image = proposals().boxes[0], torch.zeros(20, dtype=torch.int64)
    direct = cascade.box_predictors[0](cascade.box_heads[0](cascade.box_pooler(levels, boxes, image)))[0].sum()
    scaled = cascade._run_stage(0, levels, boxes, image)[0].sum()
    torch.testing.assert_close(torch.autograd.grad(scaled, levels[0])[0] * 3, torch.autograd.grad(direct, levels[0])[0])


def test_setup_errors():
    with pytest.raises(ValueError, match="class_agnostic=True"):
        make_cascade(class_agnostic=False)
    with pytest.raises(ValueError, match="one head, predictor and matcher per stage"):
        CascadeROIHeads(ROIPooler(7), [BoxHead(8)], [], [])


def test_trains_and_predicts(tiny):
    model = tiny(cascade=True)
    samples = [make_sample((64, 64), [[8, 8, 40, 48]], [1]), make_sample((48, 64), [], [], seed=1)]
    losses = model(samples)
    stages = {f"loss_{kind}_stage{i}" for kind in ("cls", "box_reg") for i in range(3)}
    assert set(losses) == stages | {"loss_rpn_cls", "loss_rpn_loc", "loss_mask"}
    assert all(v.isfinite() for v in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    for output in model.eval()(samples):
        assert len(output["instances"].masks) == len(output["instances"])
