import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from pe_dense.modeling.backbone import EncoderFeatures
from pe_dense.modeling.segmentation import (
    LinearSegHead,
    SegInference,
    SemanticSegmenter,
    build_linear_segmenter,
    window_grid,
)

from .conftest import CLASSES, tiny_encoder


def logits_of(model, image):
    """Logits of a 3 x h x w image, at its own size, by the book."""
    height, width = image.shape[-2:]
    padded = F.pad((image.float() - 127.5) / 127.5, (0, -width % 8, 0, -height % 8))[None]
    logits = model.head(model.backbone(padded))
    return F.interpolate(logits, padded.shape[-2:], mode="bilinear")[0, :, :height, :width]


def slide(model, image, crop, stride):
    total, count = 0.0, torch.zeros(image.shape[-2:])
    for top, bottom, left, right in window_grid(*image.shape[-2:], crop, stride):
        part = F.pad(
            logits_of(model, image[:, top:bottom, left:right]),
            (left, image.shape[-1] - right, top, image.shape[-2] - bottom),
        )
        total = total + part
        count[top:bottom, left:right] += 1
    return total / count


def resize(logits, size):
    return F.interpolate(logits[None], size, mode="bilinear")[0]


@pytest.mark.parametrize("pyramid", [False, True])
def test_loss_is_the_mean_over_labelled_pixels(tiny, sample, pyramid):
    model = tiny(pyramid, dropout=0.0)
    batch = [sample(32, 40), sample(24, 48, seed=1)]
    losses = model(batch)
    assert set(losses) == {"loss_sem_seg"}
    images = model.preprocess(batch)
    divisor = model.backbone.size_divisibility
    assert images.tensor.shape[-2:] == (32, 48)
    assert 32 % divisor == 0
    logits = F.interpolate(model.head(model.backbone(images.tensor)), (32, 48), mode="bilinear")
    pixels = [part[:, :h, :w].flatten(1).T for part, (h, w) in zip(logits, images.sizes)]
    labels = torch.cat([s["sem_seg"].flatten() for s in batch])
    torch.testing.assert_close(losses["loss_sem_seg"], F.cross_entropy(torch.cat(pixels), labels, ignore_index=255))
    losses["loss_sem_seg"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_class_weights(tiny, sample):
    weights = [0.5, 2.0, 1.0, 0.0]
    model = tiny(class_weights=weights)
    data = sample(32, 32)
    logits = F.interpolate(model.head(model.backbone(model.preprocess([data]).tensor)), (32, 32), mode="bilinear")
    expected = F.cross_entropy(logits, data["sem_seg"][None], torch.tensor(weights), ignore_index=255)
    torch.testing.assert_close(model([data])["loss_sem_seg"], expected)
    data["sem_seg"].fill_(3)
    assert model([data])["loss_sem_seg"] == 0


@pytest.mark.parametrize("pyramid", [False, True])
def test_no_labelled_pixel_gives_zero_and_trains_every_parameter_by_nothing(tiny, sample, pyramid):
    model = tiny(pyramid)
    data = sample(32, 32)
    data["sem_seg"].fill_(255)
    loss = model([data])["loss_sem_seg"]
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)


def test_samples_and_settings_that_do_not_fit(tiny, sample):
    model, data = tiny(), sample(32, 32, seed=7)
    with pytest.raises(ValueError, match=r"7\.png: training needs 'sem_seg'"):
        model([{k: v for k, v in data.items() if k != "sem_seg"}])
    with pytest.raises(ValueError, match=r"7\.png: the labels are \(32, 30\) but the image is \(32, 32\)"):
        model([{**data, "sem_seg": data["sem_seg"][:, :30]}])
    data["sem_seg"][3, 5] = CLASSES
    with pytest.raises(ValueError, match=rf"7\.png: a pixel has class index {CLASSES} but the model has num_classes="):
        model([data])
    neck = EncoderFeatures(tiny_encoder())
    with pytest.raises(ValueError, match="num_classes is 3 but the head was built for 4"):
        SemanticSegmenter(neck, LinearSegHead(32, 4), 3)
    with pytest.raises(ValueError, match=r"num_classes 256 must lie in 1\.\.255"):
        SemanticSegmenter(neck, LinearSegHead(32, 256), 256)
    with pytest.raises(ValueError, match="class_weights has 2 entries, num_classes is 4"):
        SemanticSegmenter(neck, LinearSegHead(32, 4), 4, class_weights=[1, 2])


@torch.no_grad()
@pytest.mark.parametrize("pyramid", [False, True])
def test_whole_images_of_different_sizes_at_their_original_size(tiny, sample, pyramid):
    model = tiny(pyramid).eval()
    batch = [sample(32, 64, height=50, width=90), sample(30, 41, seed=1)]
    if pyramid:
        batch[1] = sample(32, 32, seed=1)  # padded to a multiple of 16
    for data, found in zip(batch, model(batch)):
        size = (data.get("height", data["image"].shape[1]), data.get("width", data["image"].shape[2]))
        assert found["sem_seg"].shape == size
        assert found["sem_seg"].dtype == torch.int64
        expected = resize(logits_of(model, data["image"]), size).argmax(0)
        assert (found["sem_seg"] == expected).float().mean() > 0.999
        assert torch.equal(found["sem_seg"], model([data])[0]["sem_seg"])


@torch.no_grad()
def test_predictions_from_features_are_those_of_whole_images(tiny, sample):
    model = tiny().eval()
    data = sample(30, 41, height=60, width=82)
    images = model.preprocess([data])
    [found] = model.from_features(model.backbone(images.tensor), images.sizes, [data])
    assert torch.equal(found["sem_seg"], model([data])[0]["sem_seg"])


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_sliding_window(tiny, sample, batch_size):
    model = tiny(inference=SegInference(crop=24, stride=16, batch_size=batch_size)).eval()
    batch = [sample(40, 61), sample(20, 50, seed=1, height=41, width=99)]
    for data, found in zip(batch, model(batch)):
        expected = resize(slide(model, data["image"], 24, 16), found["sem_seg"].shape).argmax(0)
        assert (found["sem_seg"] == expected).float().mean() > 0.999


@torch.no_grad()
def test_scales_and_flips_are_averaged_as_probabilities(tiny, sample):
    settings = SegInference(crop=24, stride=16, short_side=28, scales=[1, 1.5], flip=True)
    model = tiny(inference=settings).eval()
    data = sample(40, 61)
    mean = 0.0
    for scale in settings.scales:
        size = settings.size(40, 61, scale)
        shown = F.interpolate(data["image"][None].float(), size, mode="bilinear", antialias=True)[0]
        for flipped in (False, True):
            logits = slide(model, shown.flip(-1) if flipped else shown, 24, 16)
            logits = resize(logits, (40, 61))
            mean = mean + (logits.flip(-1) if flipped else logits).softmax(0)
    assert (model([data])[0]["sem_seg"] == mean.argmax(0)).float().mean() > 0.999


@torch.no_grad()
def test_large_images_of_many_classes_never_have_all_logits_in_memory(monkeypatch):
    """The largest tensor that is made while windows are merged."""
    model = build_linear_segmenter(EncoderFeatures(tiny_encoder()), 150, inference=SegInference(crop=128, stride=96))
    largest = 0
    make = torch.zeros

    def watched(*args, **kwargs):
        nonlocal largest
        tensor = make(*args, **kwargs)
        largest = max(largest, tensor.numel())
        return tensor

    monkeypatch.setattr(torch, "zeros", watched)
    image = torch.zeros(3, 150, 200, dtype=torch.uint8)
    [found] = model.eval()([{"image": image, "height": 600, "width": 800}])
    assert found["sem_seg"].shape == (600, 800)
    assert largest < 2**23 < 150 * 600 * 800 / 8


def test_bfloat16_autocast(tiny, sample):
    model = tiny(pyramid=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model([sample(32, 32)])["loss_sem_seg"]
    assert loss.dtype == torch.float32
    loss.backward()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.eval()([sample(32, 32)])


def test_a_few_steps_lower_the_loss(tiny, sample):
    for pyramid in (False, True):
        model = tiny(pyramid)
        data = sample(32, 32)
        data["sem_seg"] = torch.arange(4).repeat_interleave(8).expand(32, 32).clone()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            loss = model([data])["loss_sem_seg"]
            loss.backward()
            optimizer.step()
        assert loss < 0.6 * math.log(4)


def labelled(rank, sample_rank):
    labels = torch.full((32, 32), 255)
    if rank == sample_rank:
        labels[:] = 1
    return {"image": torch.full((3, 32, 32), 99, dtype=torch.uint8), "sem_seg": labels}


def _train_and_predict(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = build_linear_segmenter(EncoderFeatures(tiny_encoder(), trainable_blocks=1), CLASSES)
    parallel = DistributedDataParallel(model)
    parallel([labelled(rank, sample_rank=1)])["loss_sem_seg"].backward()  # process 0 has no labelled pixel
    gradient = model.head.predictor.weight.grad

    torch.manual_seed(0)
    sharded = build_linear_segmenter(
        EncoderFeatures(tiny_encoder()), CLASSES, inference=SegInference(crop=16, stride=8, batch_size=1)
    ).eval()
    mesh = init_device_mesh("cpu", (2,))
    for block in sharded.backbone.backbone.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    with torch.no_grad():  # 1 window here, 9 there
        [found] = sharded([{"image": torch.zeros(3, 16 + 16 * rank, 16 + 16 * rank, dtype=torch.uint8)}])
    torch.save((gradient, found["sem_seg"].shape), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_without_labels_or_with_fewer_windows_keep_the_others_going(tmp_path):
    mp.spawn(_train_and_predict, (str(tmp_path),), nprocs=2)
    (gradient, first), (other, second) = (torch.load(f"{tmp_path}/{r}.pt", weights_only=False) for r in range(2))
    assert torch.equal(gradient, other)
    assert gradient.abs().sum() > 0
    assert (first, second) == ((16, 16), (32, 32))
