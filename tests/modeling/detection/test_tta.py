import pytest
import torch
from torchvision.ops import box_iou

from pe_dense.modeling.detection import DetectionTTA, build_mask_rcnn, build_tracking_rcnn
from pe_dense.modeling.detection.postprocess import to_original_size
from pe_dense.structures import Instances, RoiMasks

from .helpers import tiny_backbone


class Colours:
    """Finds the rectangle of each colour (channel), whatever the image's size; notes what it was shown."""

    def __init__(self, masks=False):
        self.seen, self.masks = [], masks

    def __call__(self, samples):
        self.seen.append([tuple(s["image"].shape[1:]) for s in samples])
        return [{"instances": self._find(s)} for s in samples]

    def _find(self, sample):
        image = sample["image"].float()
        size = tuple(image.shape[1:])
        boxes, classes, scores, probs = [], [], [], []
        for channel, on in enumerate(image > 127):
            if on.any():
                ys, xs = on.any(1).nonzero()[:, 0], on.any(0).nonzero()[:, 0]
                boxes.append([float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)])
                classes.append(channel)
                scores.append(0.9 - 0.1 * channel)
                probs.append(torch.linspace(0, 1, 8).repeat(8, 1))  # darker at the left
        boxes = torch.tensor(boxes).reshape(-1, 4)
        masks = RoiMasks(torch.stack(probs), boxes, size) if self.masks else None
        found = Instances(size, boxes, torch.tensor(classes).long(), torch.tensor(scores), masks)
        return to_original_size(found, sample["height"], sample["width"])


def picture(size, *rectangles):
    image = torch.zeros(3, *size, dtype=torch.uint8)
    for channel, (x0, y0, x1, y1) in enumerate(rectangles):
        image[channel, y0:y1, x0:x1] = 255
    return image


BATCH = [
    {"image": picture((40, 80), (8, 4, 40, 20), (60, 30, 80, 40)), "height": 80, "width": 160, "image_id": 3},
    {"image": picture((60, 40), (0, 20, 20, 40))},
    {"image": picture((32, 32))},
]


def test_boxes_of_every_view_lie_where_the_object_is():
    model = Colours()
    found = DetectionTTA([80, 160], vote_boxes=True)(model, BATCH)
    assert model.seen[0] == model.seen[1] == [(40, 80), (80, 53), (80, 80)]
    assert model.seen[2] == [(80, 160), (160, 107), (160, 160)]
    first, second, third = (f["instances"] for f in found)
    torch.testing.assert_close(first.boxes, torch.tensor([[16.0, 8, 80, 40], [120, 60, 160, 80]]))
    assert first.classes.tolist() == [0, 1]
    assert first.image_size == (80, 160)
    torch.testing.assert_close(second.boxes, torch.tensor([[0.0, 20, 20, 40]]), atol=1, rtol=0)
    assert len(third) == 0
    assert third.image_size == (32, 32)
    assert [s.get("height") for s in BATCH] == [80, None, None]  # samples stay as they were


def test_mirrored_views_are_mapped_back_exactly():
    only_mirrored = DetectionTTA([80])
    shown = []

    def second_view_only(samples):
        outputs = Colours()(samples)
        shown.append(1)
        return outputs if len(shown) == 2 else [{"instances": o["instances"][:0]} for o in outputs]

    mirrored = only_mirrored(second_view_only, BATCH[:1])[0]["instances"]
    plain = Colours()(BATCH[:1])[0]["instances"]
    assert len(mirrored) == 2
    assert torch.equal(mirrored.boxes, plain.boxes)
    assert torch.equal(mirrored.scores, plain.scores)


def test_masks_are_averaged_in_the_image():
    found = DetectionTTA([80])(Colours(masks=True), BATCH[:1])[0]["instances"]
    # a ramp and the same ramp mirrored: one half everywhere
    torch.testing.assert_close(found.masks.probs, torch.full((2, 8, 8), 0.5))
    assert torch.equal(found.masks.boxes, found.boxes)


def test_masks_of_other_boxes_are_pasted_where_they_lie():
    size, boxes = (64, 64), torch.tensor([[8.0, 8, 40, 40], [12, 8, 44, 40]])
    masks = RoiMasks(torch.ones(2, 16, 16), boxes, size)
    both = Instances(size, boxes, torch.tensor([0, 0]), torch.tensor([0.9, 0.3]), masks)
    merged = DetectionTTA([64], vote_threshold=0.6).merge(both)
    assert len(merged) == 1
    probs = merged.masks.probs[0]
    torch.testing.assert_close(probs[8, 3:14], torch.ones(11))  # both masks are there
    torch.testing.assert_close(probs[8, 0], torch.tensor(0.75))  # the better one alone: 0.9 of 1.2
    voted = DetectionTTA([64], vote_threshold=0.6, vote_boxes=True).merge(both)
    torch.testing.assert_close(voted.boxes, torch.tensor([[9.0, 8, 41, 40]]))
    assert torch.equal(voted.masks.boxes, voted.boxes)


def test_side_limits_leave_no_gap_and_no_overlap():
    def model(samples):
        sides = torch.tensor([10.0, 31.99, 32.0, 32.01, 96.0])
        boxes = torch.cat([torch.zeros(5, 2), sides[:, None].expand(-1, 2)], dim=1)
        score = 0.9 if samples[0]["image"].shape[-1] == 100 else 0.8
        return [{"instances": Instances((200, 200), boxes, torch.arange(5), torch.full((5,), score))}]

    limits = [[32, None], [0, 32]]
    sample = {"image": torch.zeros(3, 200, 200, dtype=torch.uint8)}
    found = DetectionTTA([100, 300], flip=False, side_limits=limits)(model, [sample])[0]["instances"]
    by_class = dict(zip(found.classes.tolist(), found.scores.tolist()))
    assert by_class == pytest.approx({0: 0.8, 1: 0.8, 2: 0.9, 3: 0.9, 4: 0.9})


def one_by_one(found, threshold, decay, topk):
    """Soft suppression as a loop over the boxes."""
    scores, left, kept = found.scores.double().clone(), list(range(len(found))), []
    iou = box_iou(found.boxes, found.boxes).double()
    while left:
        best = max(left, key=lambda i: float(scores[i]))
        left.remove(best)
        if decay is not None and scores[best] <= 0.001:
            continue
        kept.append(best)
        for i in list(left):
            if found.classes[i] != found.classes[best]:
                continue
            o = iou[best, i]
            if decay == "gaussian":
                scores[i] *= torch.exp(-(o**2) / 0.5)
            elif o > threshold and decay is None:
                left.remove(i)
            elif o > threshold:
                scores[i] *= (1 - o) ** (0.5 if decay == "quad" else 1)
    return kept[:topk], scores[kept[:topk]]


@pytest.mark.parametrize("decay", [None, "linear", "gaussian", "quad"])
def test_merging_is_what_a_loop_gives(decay):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(120, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 10 + 5 * torch.rand(120, 2, generator=generator)], dim=1)
    classes = torch.randint(0, 3, (120,), generator=generator)
    found = Instances((64, 64), boxes, classes, torch.rand(120, generator=generator))
    merged = DetectionTTA([64], decay=decay, topk=30).merge(found)
    kept, scores = one_by_one(found, 0.5, decay, 30)
    assert torch.equal(merged.boxes, found.boxes[kept])
    assert torch.equal(merged.classes, found.classes[kept])
    torch.testing.assert_close(merged.scores.double(), scores)


def tiny(**options):
    torch.manual_seed(0)
    return build_mask_rcnn(
        tiny_backbone(), 3, square_size=64, conv_dim=16, fc_dim=32, test_score_thresh=0.0, test_nms_thresh=0.6,
        test_topk_per_image=20, **options,
    ).eval()  # fmt: skip


@torch.no_grad()
def test_a_single_view_is_plain_inference():
    model = tiny()
    sample = {"image": torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8), "height": 96, "width": 128}
    plain = model([sample])[0]["instances"]
    model.tta = DetectionTTA([64], flip=False)
    assert not model.sees_images_once
    once = model([sample])[0]["instances"]
    assert len(plain) > 5
    for name in ("boxes", "classes", "scores"):
        assert torch.equal(getattr(once, name), getattr(plain, name))
    assert torch.equal(once.masks.probs, plain.masks.probs)


@torch.no_grad()
def test_mask_rcnn_with_sizes_flip_and_soft_suppression():
    model = tiny(test_decay="linear", tta=DetectionTTA([48, 96], decay="gaussian", topk=25))
    samples = [
        {"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8), "height": 90, "width": 70}
        for size in ((45, 35), (64, 64))
    ]
    together = [o["instances"] for o in model(samples)]
    for found in together:
        assert len(found) == 25
        assert (found.scores.diff() <= 0).all()
        assert found.masks.probs.shape == (25, 28, 28)
        assert found.masks.bitmasks().shape == (25, 90, 70)
        assert found.masks.probs.min() >= 0
        assert found.masks.probs.max() <= 1 + 1e-6
    assert len(model.train()([{**s, "instances": empty(s)} for s in samples])) == 5  # training looks once


def empty(sample):
    size = tuple(sample["image"].shape[1:])
    none = Instances.empty(size)
    none.masks = torch.zeros(0, *size, dtype=torch.bool)
    return none


def test_errors():
    for options, words in (
        ({"sizes": []}, "at least one"),
        ({"sizes": [64, 0]}, "at least 1 pixel"),
        ({"sizes": [64], "side_limits": [[0, 1], [1, 2]]}, "1 sizes but 2 side_limits"),
        ({"sizes": [64], "side_limits": [[5, 5]]}, "not a range"),
        ({"sizes": [64], "vote_threshold": 0}, "vote_threshold"),
        ({"sizes": [64], "iou_threshold": 50}, "iou_threshold must lie in"),
        ({"sizes": [64], "sigma": 0}, "sigma 0 must be positive"),
        ({"sizes": [64], "topk": 0}, "topk 0: keep at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            DetectionTTA(**options)
    with pytest.raises(ValueError, match="without tta"):
        build_tracking_rcnn(tiny(tta=DetectionTTA([64])))

    def bitmaps(samples):
        return [{"instances": Instances((8, 8), torch.zeros(1, 4), masks=torch.zeros(1, 8, 8, dtype=torch.bool))}]

    with pytest.raises(TypeError, match="RoiMasks"):
        DetectionTTA([8])(bitmaps, [{"image": torch.zeros(3, 8, 8)}])
