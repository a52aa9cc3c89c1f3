import torch
import torch.nn.functional as F

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.modeling.detection import BoxHead, BoxPredictor
from pe_dense.modeling.detection.regions import Samples


def test_head_shapes():
    head = BoxHead(8, 7, [6, 6], [20])
    assert head.out_dim == 20
    assert head(torch.randn(5, 8, 7, 7)).shape == (5, 20)
    assert head(torch.randn(0, 8, 7, 7)).shape == (0, 20)


def samples():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 5, 20, 15], [0, 0, 8, 8], [0, 0, 0, 0]]])
    goals = torch.tensor([[[1.0, 0, 9, 12], [5, 5, 22, 15], [0, 0, 0, 0], [0, 0, 0, 0]]])
    return Samples(boxes, torch.tensor([[2, 0, 3, -1]]), torch.zeros(1, 4, dtype=torch.int64), goals)


def check_losses(class_agnostic, channels):
    torch.manual_seed(0)
    coder = BoxCoder((10, 10, 5, 5))
    predictor = BoxPredictor(16, 3, coder, class_agnostic)
    torch.nn.init.normal_(predictor.bbox_pred.weight)
    logits, deltas = predictor(torch.randn(4, 16))
    assert deltas.shape == (4, 1 if class_agnostic else 3, 4)
    losses = predictor.losses(logits, deltas, samples())
    # the mean runs over the three used regions; only two have an object
    torch.testing.assert_close(losses["loss_cls"], F.cross_entropy(logits[:3], torch.tensor([2, 0, 3])))
    goals = coder.encode(samples().boxes[0, :2], samples().target_boxes[0, :2])
    own = deltas[[0, 1], channels]
    torch.testing.assert_close(losses["loss_box_reg"], (own - goals).abs().sum() / 3)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in predictor.parameters())


def test_class_specific_losses():
    check_losses(False, [2, 0])


def test_class_agnostic_losses():
    check_losses(True, [0, 0])


def test_no_used_region():
    predictor = BoxPredictor(4, 3, BoxCoder())
    empty = samples()
    empty.classes = torch.full((1, 4), -1)
    losses = predictor.losses(*predictor(torch.randn(4, 4)), empty)
    assert sum(losses.values()) == 0


def test_decode_gives_one_box_per_class():
    predictor = BoxPredictor(4, 3, BoxCoder())
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    torch.testing.assert_close(predictor.decode(torch.zeros(1, 3, 4), boxes), boxes.expand(1, 3, 4))
