import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import pe_dense
from pe_dense.engine import Checkpoint, save_checkpoint
from pe_dense.modeling.backbone import EncoderFeatures, PerceptionEncoder, WeightsError
from pe_dense.modeling.segmentation import build_linear_segmenter
from pe_dense.prediction import FeatureExtractor, FeatureMaps
from pe_dense.prediction.feature_extractor import blend_weight

PATCH = 8


def encoder(**options):
    torch.manual_seed(0)
    return PerceptionEncoder(32, 3, 2, 64, patch_size=PATCH, grid_size=4, **options)


def extractor(layers=-1, cls=False, **options):
    return FeatureExtractor(encoder(use_cls_token=cls), layers, device="cpu", **options)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def normalised(array):
    return (torch.from_numpy(array).permute(2, 0, 1)[None].float() - 127.5) / 127.5


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("window", [None, 48, 1000])
def test_maps_are_those_of_the_encoder(window):
    array = photo(40, 48)
    with torch.no_grad():
        expected = encoder().forward_intermediates(normalised(array), [2, 0])
    found = extractor([-1, 0], window=window)(array)
    assert list(found) == [2, 0]
    assert torch.equal(found[2], expected[0])
    assert torch.equal(found[-1], expected[0])
    assert torch.equal(found[0], expected[1])
    assert found[-1].shape == (1, 32, 5, 6)
    assert found[-1].is_contiguous()
    assert not found[-1].requires_grad
    assert (found.stride, found.seen_size, found.image_size) == (PATCH, (40, 48), (40, 48))
    assert repr(found) == "FeatureMaps(blocks 2, 0: 1 x 32 x 5 x 6, stride 8)"
    assert 1 not in found
    with pytest.raises(KeyError, match="layer 1 was not asked for: there are 2, 0"):
        found[1]
    with pytest.raises(KeyError, match="class_token=True"):
        found.class_token()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (8, 7), (9, 8), (41, 63), (1, 100)])
def test_odd_and_tiny_images_are_padded_and_covered(height, width):
    array = photo(height, width)
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    padded = torch.zeros(1, 3, rows * PATCH, columns * PATCH)
    padded[:, :, :height, :width] = normalised(array)
    with torch.no_grad():
        [expected] = encoder().forward_intermediates(padded, [2])
    found = extractor()(array)
    assert torch.equal(found[-1], expected)
    assert found[-1].shape[-2:] == (rows, columns)
    assert extractor(window=16)(array)[-1].shape == expected.shape
    assert found.upsampled().shape == (1, 32, height, width)


def test_windows_are_blended_by_their_distance_to_the_border():
    array = photo(45, 70)  # 6 x 9 cells; windows of 4 x 4, 2 apart
    seen = extractor([0, -1], cls=True, window=30, window_stride=17, batch_size=5, class_token=True)
    padded = torch.zeros(1, 3, 48, 72)
    padded[:, :, :45, :70] = normalised(array)
    total, count, tokens = torch.zeros(32, 6, 9), torch.zeros(6, 9), []
    for top in (0, 2):
        for left in (0, 2, 4, 5):
            crop = padded[:, :, 8 * top : 8 * top + 32, 8 * left : 8 * left + 32]
            with torch.no_grad():
                grid, cls = seen.encoder.forward_intermediates_with_cls(crop, [2])[0]
            weight = torch.tensor([[min(y, 5 - y) * min(x, 5 - x) for x in range(1, 5)] for y in range(1, 5)])
            total[:, top : top + 4, left : left + 4] += grid[0] * weight
            count[top : top + 4, left : left + 4] += weight
            tokens.append(cls)
    found = seen(array)
    close(found[-1][0], total / count)
    close(found.class_token(), torch.stack(tokens).mean(0))
    assert found[0].shape == (1, 32, 6, 9)


def test_weights_of_a_window():
    assert blend_weight(3, 4).tolist() == [[1, 2, 2, 1], [2, 4, 4, 2], [1, 2, 2, 1]]


def test_every_form_of_image_agrees(tmp_path):
    array = photo(20, 30)
    Image.fromarray(array).save(tmp_path / "x.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    forms = [tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(array), array, tensor, tensor / 255]
    seen = extractor()
    expected = seen(array)[-1]
    for form in forms:
        close(seen(form)[-1], expected)
    for batch in (np.stack([array, array]), torch.stack([tensor, tensor]), torch.stack([tensor, tensor]) / 255):
        found = seen(batch)
        assert isinstance(found, FeatureMaps)
        close(found[-1], expected.expand(2, -1, -1, -1))
    found = seen([*forms, photo(33, 10)])
    assert [maps[-1].shape for maps in found] == [(1, 32, 3, 4)] * 6 + [(1, 32, 5, 2)]
    close(torch.cat([maps[-1] for maps in found[:-1]]), expected.expand(6, -1, -1, -1))
    assert seen([]) == []


def test_a_list_comes_back_in_order_whatever_the_batches():
    images = [photo(20 + 8 * (i % 2), 30, seed=i) for i in range(7)]
    seen = extractor(batch_size=2)
    for found, image in zip(seen(images), images, strict=True):
        close(found[-1], seen(image)[-1])
        assert found.image_size == image.shape[:2]


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P"])
def test_files_of_other_kinds(mode, tmp_path):
    array = photo(20, 30)
    if mode == "I;16":
        image = Image.fromarray(array[..., 0].astype(np.uint16) * 257)
    elif mode == "P":
        image = Image.fromarray(array).quantize(16)
    else:
        image = Image.fromarray(array).convert(mode)
    image.save(tmp_path / "x.png")
    expected = {"RGBA": array, "P": np.array(image.convert("RGB"))}.get(mode)
    if expected is None:
        grey = array[..., 0] if mode == "I;16" else np.array(image)
        expected = np.repeat(grey[..., None], 3, axis=2)
    seen = extractor()
    assert torch.equal(seen(tmp_path / "x.png")[-1], seen(expected)[-1])
    assert torch.equal(seen(image)[-1], seen(expected)[-1])


def test_resizing():
    found = extractor(resize=24)(photo(60, 90))
    assert (found.seen_size, found.image_size) == ((24, 36), (60, 90))
    assert found[-1].shape == (1, 32, 3, 5)
    assert extractor(resize=(16, 64))(photo(60, 90))[-1].shape == (1, 32, 2, 8)
    flat = np.full((60, 90, 3), 77, np.uint8)
    close(extractor(resize=(16, 24))(flat)[-1], extractor()(flat[:16, :24])[-1])


def test_upsampled_maps_lie_where_the_image_lies():
    ramp = torch.arange(6.0).expand(1, 1, 4, 6)
    fitting = FeatureMaps({0: ramp}, 1, 8, (32, 48), (32, 48))
    expected = torch.nn.functional.interpolate(ramp, (32, 48), mode="bilinear", align_corners=False)
    close(fitting.upsampled(0), expected)
    partial = FeatureMaps({0: ramp}, 1, 8, (30, 43), (30, 43))  # the last cells are covered in part
    close(partial.upsampled(0), expected[..., :30, :43])
    shrunk = FeatureMaps({0: ramp}, 1, 8, (30, 43), (60, 86))
    centre = (21 + 0.5) / 2 / 8 - 0.5  # of pixel 21, in cells
    close(shrunk.upsampled(0)[0, 0, 0, 21], torch.tensor(centre))
    assert shrunk.upsampled(0, (5, 7)).shape == (1, 1, 5, 7)


def test_class_tokens_and_norm():
    tower = encoder(use_cls_token=True, use_ln_post=True)
    torch.nn.init.normal_(tower.ln_post.weight)
    array = photo(32, 40)
    with torch.no_grad():
        expected = tower.forward_intermediates_with_cls(normalised(array), [0, 2], norm=True)
    found = FeatureExtractor(tower, [0, 2], norm=True, class_token=True, device="cpu")(array)
    for layer, (grid, cls) in zip([0, 2], expected):
        assert torch.equal(found[layer], grid)
        assert torch.equal(found.class_token(layer), cls)
    with pytest.raises(ValueError, match="no final norm"):
        extractor(norm=True)
    with pytest.raises(ValueError, match="class_token=True, but this encoder has none"):
        extractor(class_token=True)


def test_gradients_on_request_reach_the_image():
    for window in (None, 16):
        seen = extractor(window=window)
        image = torch.rand(2, 3, 20, 30, requires_grad=True)
        assert not seen(image)[-1].requires_grad
        seen(image, grad=True)[-1].square().sum().backward()
        assert image.grad is not None
        assert (image.grad.flatten(1).abs().amax(1) > 0).all()
        assert all(p.grad is None and not p.requires_grad for p in seen.encoder.parameters())


@pytest.mark.parametrize("window", [None, 16])
def test_half_precision(window):
    array = photo(37, 50)
    found = extractor(window=window, dtype=torch.bfloat16)(array)
    assert found[-1].dtype == torch.bfloat16
    expected = extractor(window=window)(array)[-1]
    assert (found[-1].float() - expected).norm() / expected.norm() < 0.03
    assert found.upsampled().dtype == torch.bfloat16


def test_memory_does_not_grow_with_the_number_of_windows(monkeypatch):
    seen = extractor(window=16, batch_size=3)
    sizes = []
    run = seen.encoder.forward_intermediates_with_cls
    monkeypatch.setattr(
        seen.encoder, "forward_intermediates_with_cls", lambda x, *a, **k: sizes.append(x.shape) or run(x, *a, **k)
    )
    seen(photo(100, 200))
    assert len(sizes) > 50
    assert set(sizes) <= {torch.Size((n, 3, 16, 16)) for n in (1, 2, 3)}


def test_official_encoders(caplog):
    with caplog.at_level(logging.WARNING):
        state = torch.random.get_rng_state()
        first = pe_dense.features("pe-spatial-t16-512", layers=[5, -1], weights=None, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert "the weights of PE-Spatial-T16-512 are random" in caplog.text
    found = first(photo(40, 50))
    assert {layer: grid.shape for layer, grid in found.items()} == {5: (1, 192, 3, 4), 11: (1, 192, 3, 4)}
    second = pe_dense.features("PE-Spatial-T16-512", -1, None, device="cpu")
    assert torch.equal(second(photo(40, 50))[-1], found[-1])
    core = pe_dense.features("PE-Core-T16-384", weights=None, norm=True, class_token=True, device="cpu")
    assert core(photo(40, 50)).class_token().shape == (1, 192)


def test_weights_of_a_file(tmp_path):
    source = pe_dense.features("PE-Spatial-T16-512", weights=None, device="cpu").encoder
    torch.nn.init.normal_(source.ln_pre.weight)
    torch.save(source.state_dict(), tmp_path / "T.pt")
    array = photo(40, 50)
    with torch.no_grad():
        [expected] = source.forward_intermediates(torch.nn.functional.pad(normalised(array), (0, 14, 0, 8)), [11])
    found = pe_dense.features("PE-Spatial-T16-512", weights=tmp_path / "T.pt", device="cpu")
    assert torch.equal(found(array)[-1], expected)
    model = build_linear_segmenter(EncoderFeatures(source), 3)
    run = tmp_path / "run.safetensors"
    save_checkpoint(Checkpoint(run, model.state_dict(), 0, "", None, {}))
    assert torch.equal(pe_dense.features("PE-Spatial-T16-512", weights=run, device="cpu")(array)[-1], expected)
    with pytest.raises(WeightsError, match="may be of another model or size"):
        pe_dense.features("PE-Spatial-S16-512", weights=tmp_path / "T.pt")
    save_checkpoint(Checkpoint(tmp_path / "checkpoints" / "best.safetensors", model.state_dict(), 0, "", None, {}))
    for weights in (run, tmp_path):
        with pytest.raises(WeightsError, match=r"^.* is a run with .*EncoderView\.from_checkpoint\('.*'\)") as caught:
            pe_dense.features("PE-Spatial-S16-512", weights=weights)
        assert "missing" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"none\.pt does not exist"):
        pe_dense.features("PE-Spatial-S16-512", weights="none.pt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [3]}, r"blocks 0\.\.2"),
        ({"layers": []}, "layers is empty"),
        ({"window": 0}, "window must be at least 1"),
        ({"window_stride": 8}, "give a window"),
        ({"window": 16, "window_stride": 17}, "window_stride is 17 but window is 16"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"resize": 0}, "resize is 0"),
        ({"resize": (8,)}, r"resize is \(8,\)"),
        ({"dtype": torch.int64}, "dtype is torch.int64"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        extractor(**options)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((4, 4), np.uint8), TypeError, r"H x W x 3 uint8 RGB array, got \(4, 4\)"),
        (np.zeros((4, 4, 3), np.uint16), TypeError, "uint16"),
        (torch.zeros(1, 4, 4), TypeError, "got 1 x 4 x 4 torch.float32; repeat the channel"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), TypeError, "torch.int32"),
        (torch.full((3, 4, 4), 2.0), ValueError, "between 0 and 1, this one between 2 and 2"),
        (torch.full((3, 4, 4), torch.nan), ValueError, "between nan and nan"),
        (torch.zeros(3, 0, 4), ValueError, "3 x 0 x 4 has no pixels"),
        (torch.zeros(0, 3, 4, 4), ValueError, "no pixels"),
        ("nowhere.jpg", FileNotFoundError, "nowhere.jpg does not exist; check the path$"),
        (Image.new("F", (4, 4)), TypeError, 'mode "F"'),
        ([torch.zeros(2, 3, 4, 4)], ValueError, "image 0 of the list is a batch of 2"),
    ],
)
def test_wrong_images(image, error, message):
    with pytest.raises(error, match=message):
        extractor()(image)


def test_unknown_names_show_the_nearest():
    with pytest.raises(ValueError, match=r"encoder PE-Spacial-L14 is unknown: did you mean PE-Spatial-L14-448"):
        pe_dense.features("PE-Spacial-L14")
    with pytest.raises(ValueError, match=r"PE-Spatial-B16-448 is unknown: did you mean PE-Spatial-B16-512 or "):
        pe_dense.features("PE-Spatial-B16-448")
    with pytest.raises(ValueError, match=r"encoder dinov3 is unknown: choose one of PE-Core-T16-384, "):
        pe_dense.features("dinov3")


def test_the_library_alone_stays_light():
    code = "import pe_dense, sys; assert 'torch' not in sys.modules, 'import pe_dense imports torch'"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert pe_dense.features is pe_dense.prediction.features
