import pytest
import torch

from pe_dense.layers.box_coder import BoxCoder
from pe_dense.modeling.detection import BoxHead, BoxPredictor, MaskHead, Matcher, ROIHeads, ROIPooler
from pe_dense.modeling.detection.regions import Proposals, Targets
from pe_dense.structures import Instances

from .helpers import SIZES, proposals, pyramid, truth


def make_heads(**options):
    torch.manual_seed(0)
    return ROIHeads(
        ROIPooler(7), BoxHead(8, 7, [8], [16]), BoxPredictor(16, 3, BoxCoder((10, 10, 5, 5))), Matcher([0.5], [0, 1]),
        **options,
    )  # fmt: skip


def test_sampling_adds_the_objects_and_keeps_slots_apart():
    heads, found = make_heads(), truth()
    samples = heads.sample(proposals(), found)
    assert samples.boxes.shape == (2, 22, 4)
    for box, cls in zip(found.boxes[0], found.classes[0]):
        at = (samples.boxes[0] == box).all(dim=1)
        assert samples.classes[0][at].tolist() == [cls]
    assert (samples.classes[1] == 3).sum() == 5  # its proposals are background; its padded objects do not count
    assert (samples.classes[1] == -1).sum() == 17
    assert not samples.boxes[1][samples.classes[1] == -1].any()
    assert samples.foreground(3)[0].sum() >= 2


def test_sample_size_and_share_of_positives():
    heads = make_heads(batch_size_per_image=8, positive_fraction=0.25)
    found = truth()
    boxes = found.boxes[:, :1].expand(-1, 20, 4) + torch.rand(2, 20, 4)
    some = Proposals(torch.cat([boxes, proposals().boxes], 1), torch.zeros(2, 40), torch.ones(2, 40).bool())
    samples = heads.sample(some, found)
    assert samples.classes.shape == (2, 8)
    assert samples.foreground(3)[0].sum() == 2
    assert samples.foreground(3)[0, :2].all()  # foreground first


def test_crowds_are_neither_proposals_nor_targets():
    samples = make_heads().sample(proposals(), truth(crowd=torch.tensor([True, True])))
    assert not samples.foreground(3).any()
    assert (samples.classes[0] >= 0).sum() == 20


def test_a_batch_without_objects_trains_every_parameter():
    heads = make_heads(mask_pooler=ROIPooler(14), mask_head=MaskHead(8, 3, [8]))
    none = [Instances(s, torch.zeros(0, 4), torch.zeros(0).long(), masks=torch.zeros(0, *s).bool()) for s in SIZES]
    _, losses = heads(pyramid(), proposals(), SIZES, Targets.from_instances(none, with_masks=True))
    assert losses["loss_box_reg"] == 0
    assert losses["loss_mask"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in heads.parameters())


def test_no_proposal_at_all():
    heads = make_heads(mask_pooler=ROIPooler(14), mask_head=MaskHead(8, 3, [8]))
    nothing = proposals(used=(0, 0))
    none = Targets.from_instances([Instances.empty(s) for s in SIZES])
    none.masks = [torch.zeros(0, *s).bool() for s in SIZES]
    _, losses = heads(pyramid(), nothing, SIZES, none)
    assert all(v == 0 for v in losses.values())
    detections, _ = heads.eval()(pyramid(), nothing, SIZES)
    assert [len(d) for d in detections] == [0, 0]
    assert detections[0].masks.bitmasks().shape == (0, *SIZES[0])


def test_masks_need_both_parts_and_targets_are_needed():
    with pytest.raises(ValueError, match="belong together"):
        make_heads(mask_pooler=ROIPooler(14))
    with pytest.raises(ValueError, match="need targets"):
        make_heads()(pyramid(), proposals(), SIZES)
