import torch
import torch.nn.functional as F

from pe_dense.modeling.detection import MaskHead
from pe_dense.modeling.detection.mask_head import mask_loss, mask_targets
from pe_dense.modeling.detection.regions import Samples, Targets
from pe_dense.structures import Instances


def test_picks_the_mask_of_the_class():
    torch.manual_seed(0)
    head = MaskHead(4, 3, [8])
    x = torch.randn(2, 4, 14, 14)
    every = [head(x, torch.tensor([c, c])) for c in range(3)]
    mixed = head(x, torch.tensor([2, 1]))
    assert mixed.shape == (2, 28, 28)
    assert torch.equal(mixed[0], every[2][0])
    assert torch.equal(mixed[1], every[1][1])


def test_targets_are_cut_from_the_assigned_mask():
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, :8] = True  # upper half
    masks[1, :, 8:] = True  # right half
    boxes = torch.tensor([[[0.0, 0, 16, 16], [0, 0, 16, 16], [0, 6, 4, 10], [0, 0, 16, 16]]])
    found = Instances((16, 16), torch.tensor([[0.0, 0, 16, 8], [8, 0, 16, 16]]), torch.tensor([0, 1]), masks=masks)
    targets = Targets.from_instances([found], with_masks=True)
    samples = Samples(boxes, torch.tensor([[0, 1, 0, 3]]), torch.tensor([[0, 1, 0, 0]]), boxes)
    goals = mask_targets(samples, targets, samples.foreground(3), 4)[0]
    upper = torch.tensor([True, True, False, False])
    assert torch.equal(goals[0], upper[:, None].expand(4, 4))
    assert torch.equal(goals[1], ~upper.expand(4, 4))
    assert torch.equal(goals[2], upper[:, None].expand(4, 4))  # a region on the edge of the mask
    assert not goals[3].any()  # background


def test_an_image_without_objects_has_empty_targets():
    none = Instances((8, 8), torch.zeros(0, 4), torch.zeros(0).long(), masks=torch.zeros(0, 8, 8, dtype=torch.bool))
    targets = Targets.from_instances([none], with_masks=True)
    boxes = torch.tensor([[[0.0, 0, 4, 4]]])
    samples = Samples(boxes, torch.tensor([[3]]), torch.tensor([[0]]), boxes)
    assert not mask_targets(samples, targets, samples.foreground(3), 28).any()


def test_loss_is_the_mean_and_zero_with_gradient_without_masks():
    torch.manual_seed(0)
    logits, goals = torch.randn(3, 4, 4), torch.rand(3, 4, 4) > 0.5
    torch.testing.assert_close(mask_loss(logits, goals), F.binary_cross_entropy_with_logits(logits, goals.float()))
    head = MaskHead(4, 3, [8])
    loss = mask_loss(head(torch.zeros(0, 4, 14, 14), torch.zeros(0).long()), torch.zeros(0, 28, 28).bool())
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())
