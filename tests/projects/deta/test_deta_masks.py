"""Masks of queries: cut, lost, learnt, and pasted back."""

import pytest
import torch

from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.structures import Instances
from projects.deta import DetaPyramid, Noise, build_deta
from projects.deta.masks import QueryMasks, cut_masks, mask_losses

SIZES = {
    "hidden_dim": 24, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 2, "feedforward_dim": 32,
    "num_queries": 20, "with_masks": True,
}  # fmt: skip


def tiny(**options):
    torch.manual_seed(0)
    encoder = PerceptionEncoder(16, 1, 2, 32, patch_size=16, grid_size=4)
    return build_deta(DetaPyramid(encoder), 2, **(SIZES | options))


def sample(size, boxes):
    """Each object is the left half of its box, which is brighter than the rest of the image."""
    image = torch.zeros(3, *size, dtype=torch.uint8)
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes):
        mask[y0:y1, x0 : (x0 + x1) // 2] = True
        image[:, y0:y1, x0:x1] = 100
        image[0, mask] = 250
    found = Instances(size, torch.tensor(boxes).reshape(-1, 4).float(), torch.zeros(len(boxes)).long(), masks=masks)
    return {"image": image, "instances": found}


def test_masks_are_those_of_the_pixels():
    """Queries that ask for one channel get its values in their boxes."""
    head = QueryMasks(8, channels=4, side=4)
    torch.nn.init.zeros_(head.query[-1].weight)
    with torch.no_grad():
        head.query[-1].bias.copy_(torch.tensor([0.0, 2.0, 0, 0, -1.0]))  # channel 1; the last is the offset
    pixels = torch.zeros(2, 4, 8, 12)
    pixels[0, 1, :, :6] = 3.0
    boxes = torch.tensor([[[2.0, 2, 10, 6], [0, 0, 4, 4]], [[2, 2, 10, 6], [0, 0, 4, 4]]])
    found = head(pixels, torch.randn(2, 2, 8), boxes)
    assert found.shape == (2, 2, 4, 4)
    torch.testing.assert_close(found[0, 0], torch.tensor([2.0, 2, -1, -1]).expand(4, 4))
    assert (found[0, 1] == 2).all()
    assert (found[1] == -1).all()
    assert head.pixels(torch.zeros(1, 8, 5, 3)).shape == (1, 4, 10, 6)


def test_cut():
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, :, :8] = True
    boxes = torch.tensor([[[[0.0, 0, 16, 16], [4, 4, 12, 12]], [[0, 0, 16, 16], [0, 0, 16, 16]]]]).expand(2, -1, -1, -1)
    cut = cut_masks([mask, mask[:0]], boxes, 4)
    assert cut.shape == (2, 2, 2, 4, 4)
    assert torch.equal(cut[0, 0], torch.tensor([1.0, 1, 0, 0]).expand(2, 4, 4))
    assert cut[0, 1].sum() == cut[1].sum() == 0


def test_losses():
    goals = torch.tensor([1.0, 0]).repeat(3, 4, 2)
    right, wrong = 40 * goals - 20, 20 - 40 * goals
    valid = torch.tensor([True, True, False])
    assert all(v < 1e-6 for v in mask_losses(right, goals, valid).values())
    found = mask_losses(wrong, goals, valid)
    assert found["mask"] == pytest.approx(40, abs=1e-3)
    assert found["dice"] == pytest.approx(2 * (1 - 1 / 17), abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"denoising": Noise(8)}])
def test_training_and_detections(options):
    model = tiny(**options).train()
    batch = [sample((64, 48), [[4, 4, 40, 30], [20, 30, 44, 60]]), sample((48, 64), [])]
    losses = model(batch)
    assert {"loss_mask", "loss_dice"} < set(losses)
    sum(losses.values()).backward()
    unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert unused == []
    with torch.no_grad():
        [found, _] = model.eval()([{**batch[0], "height": 128, "width": 96}, batch[1]])
    found = found["instances"]
    assert found.masks.bitmasks().shape == (len(found), 128, 96)
    assert len(found.masks.rle()) == len(found) > 0
    empty = model.train()(batch[1:])
    assert empty["loss_mask"] == empty["loss_dice"] == 0


def test_boxes_do_not_depend_on_masks():
    with_masks, plain = tiny().eval(), tiny(with_masks=False).eval()
    plain.load_state_dict({k: v for k, v in with_masks.state_dict().items() if not k.startswith("mask_head.")})
    batch = [sample((64, 48), [])]
    with torch.no_grad():
        [one], [other] = with_masks(batch), plain(batch)
    assert torch.equal(one["instances"].boxes, other["instances"].boxes)
    assert torch.equal(one["instances"].scores, other["instances"].scores)


def test_masks_are_learnt():
    """The left halves of two boxes, at their places in the image."""
    model = tiny(num_levels=3, num_decoder_layers=1, num_queries=10).train()
    batch = [sample((64, 64), [[4, 4, 40, 30], [40, 36, 62, 60]])]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(40):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    with torch.no_grad():
        outputs = model.eval()(batch)
    for output, truth in zip(outputs, batch):
        found, wanted = output["instances"].masks.bitmasks().flatten(1), truth["instances"].masks.flatten(1)
        shared = (found[:, None] & wanted).sum(-1) / (found[:, None] | wanted).sum(-1).clamp(min=1)
        assert (shared[: len(wanted) * 2].amax(0) > 0.7).all()  # among the best scored
