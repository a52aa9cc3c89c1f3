import argparse

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F

from pe_dense.modeling.backbone import builders
from pe_dense.modeling.backbone.vit import PerceptionEncoder
from pe_dense.modeling.backbone.weights import (
    WeightsError,
    find_weights,
    load_encoder_weights,
    resize_patch_embedding,
    to_timm,
)


def tiny(**changes):
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24, "patch_size": 4, "grid_size": 3}
    return PerceptionEncoder(**{**sizes, **changes})


def assert_same(a, b):
    assert a.keys() == b.keys()
    for k in a:
        assert torch.equal(a[k], b[k]), k


def core_file(state):
    """As the released PE-Core files: vision tower under ``visual.``, text tower without a prefix."""
    text = {"positional_embedding": torch.zeros(7, 5), "transformer.resblocks.0.ln_1.weight": torch.ones(5)}
    return {**{f"visual.{k}": v for k, v in state.items()}, **text, "logit_scale": torch.zeros(())}


WRAPPINGS = {
    "bare": lambda s: s,
    "core": core_file,
    "state_dict, module.visual": lambda s: {"state_dict": {f"module.visual.{k}": v for k, v in s.items()}},
    "weights": lambda s: {"weights": core_file(s)},
    "released detector": lambda s: {
        "model": {
            **{f"backbone.net.{k}": v[None] if k == "positional_embedding" else v for k, v in s.items()},
            "backbone.net.rope_win.freqs_cos": torch.zeros(9, 8),
            "backbone.net.transformer.resblocks.0.attn.rope.freqs_sin": torch.zeros(9, 8),
            "proposal_generator.rpn_head.conv.conv1.weight": torch.zeros(3, 3, 3, 3),
        }
    },
    "released DETA": lambda s: {"model": {f"backbone.0.body.{k}": v for k, v in s.items()}, "epoch": 3},
    "timm": to_timm,
}


FLAT = ["bare", "core", "timm"]  # safetensors files hold no nested wrappers


@pytest.mark.parametrize(("wrapping", "suffix"), [(w, ".pt") for w in WRAPPINGS] + [(w, ".safetensors") for w in FLAT])
def test_every_official_wrapper(tmp_path, wrapping, suffix):
    source, target = tiny(), tiny()
    content = WRAPPINGS[wrapping](source.state_dict())
    path = tmp_path / f"file{suffix}"
    if suffix == ".pt":
        torch.save(content, path)
    else:
        safetensors.torch.save_file({k: v.contiguous() for k, v in content.items()}, path)
    load_encoder_weights(target, path)
    assert_same(target.state_dict(), source.state_dict())


def test_core_file_serves_an_encoder_without_pooling_or_class_token(tmp_path):
    extras = {"use_cls_token": True, "use_ln_post": True, "pool": True, "output_dim": 6}
    source, target = tiny(**extras), tiny()
    torch.save(core_file(source.state_dict()), tmp_path / "core.pt")
    load_encoder_weights(target, tmp_path / "core.pt")
    assert torch.equal(target.positional_embedding, source.positional_embedding[1:])
    assert torch.equal(target.ln_pre.weight, source.ln_pre.weight)


def test_timm_checkpoint_of_a_real_tower(tmp_path):
    torch.manual_seed(0)
    theirs = timm.create_model("vit_pe_core_tiny_patch16_384")
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    ours = builders.pe_core_t16_384(weights=str(tmp_path / "timm.safetensors"))
    images = torch.randn(1, 3, 384, 384)
    with torch.no_grad():
        expected = theirs.eval()(images) - theirs.head.bias
        torch.testing.assert_close(ours.eval()(images), expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


def test_official_name_goes_through_the_hub(tmp_path, monkeypatch):
    source = builders.pe_spatial_t16_512()
    torch.save(source.state_dict(), tmp_path / "PE-Spatial-T16-512.pt")
    asked, cached = [], []

    def fetch(repo, filename):
        asked.append((repo, filename))
        cached.append(str(tmp_path / filename))
        return cached[0]

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *place: cached[0] if cached else None)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    for _ in range(2):  # the second time nobody is asked
        ours = builders.pe_spatial_t16_512(weights="PE-Spatial-T16-512")
        assert asked == [("facebook/PE-Spatial-T16-512", "PE-Spatial-T16-512.pt")]
        assert_same(ours.state_dict(), source.state_dict())


def test_patch_14_to_16_is_the_official_conversion(fixtures, tmp_path):
    data = np.load(fixtures / "pe" / "ops_d1.npz")
    old, expected = torch.from_numpy(data["conv.w14"]), torch.from_numpy(data["conv.w16"])
    torch.testing.assert_close(resize_patch_embedding(old, 16, "bicubic"), expected, atol=1e-6, rtol=0)
    source, target = tiny(patch_size=14), tiny(patch_size=16)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    load_encoder_weights(target, tmp_path / "w.pt")
    torch.testing.assert_close(target.conv1.weight, resize_patch_embedding(source.conv1.weight, 16))


def test_pseudo_inverse_keeps_responses_to_resized_patches():
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 14, 14, dtype=torch.float64)
    new = resize_patch_embedding(weight, 16, "pinv")
    patch = torch.randn(1, 3, 14, 14, dtype=torch.float64)
    larger = F.interpolate(patch, (16, 16), mode="bicubic", align_corners=False)
    torch.testing.assert_close(F.conv2d(larger, new), F.conv2d(patch, weight))


def test_position_table_resize_is_the_official_conversion(fixtures, tmp_path):
    data = np.load(fixtures / "pe" / "ops_d1.npz")
    source, target = tiny(grid_size=8), tiny(grid_size=6)
    with torch.no_grad():
        source.positional_embedding.copy_(torch.from_numpy(data["conv.pos8"]))
    torch.save(source.state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"positional_embedding has shape \(64, 16\), the model needs \(36, 16\)"):
        load_encoder_weights(target, tmp_path / "w.pt")
    load_encoder_weights(target, tmp_path / "w.pt", resize_positions=True)
    torch.testing.assert_close(
        target.positional_embedding[None], torch.from_numpy(data["conv.pos6"]), atol=1e-5, rtol=0
    )


def test_missing_misshapen_and_unknown_keys_are_listed(tmp_path):
    state = tiny().state_dict()
    del state["ln_pre.weight"]
    state["conv1.weight"] = torch.zeros(8, 3, 4, 4)
    state["transformer.resblocks.0.ls_1.gamma"] = torch.zeros(16)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError) as error:
        load_encoder_weights(tiny(), tmp_path / "w.pt")
    for part in [
        "w.pt", "ln_pre.weight is missing", "conv1.weight has shape (8, 3, 4, 4), the model needs (16, 3, 4, 4)",
        "transformer.resblocks.0.ls_1.gamma has no place",
    ]:  # fmt: skip
        assert part in str(error.value)


def test_deeper_file_only_on_request(tmp_path):
    torch.save(tiny(depth=3).state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"resblocks\.2\.\S+ has no place"):
        load_encoder_weights(tiny(), tmp_path / "w.pt")
    load_encoder_weights(tiny(), tmp_path / "w.pt", allow_deeper=True)


def test_file_of_another_model(tmp_path):
    torch.save({"layer1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(
        WeightsError, match=r"resnet\.pth: expected one PE encoder, found none .* starts with layer1\.weight"
    ):
        load_encoder_weights(tiny(), tmp_path / "resnet.pth")


def test_missing_file_and_unknown_name():
    for name in ["nowhere/w.pt", "PE-Spatial B16"]:
        with pytest.raises(FileNotFoundError, match=r"does not exist; .*PE-Spatial-B16-512"):
            load_encoder_weights(tiny(), name)


def test_hub_without_network(monkeypatch):
    """One question to the hub, which has no retries, and no download, which has."""

    def fail(url):
        raise OSError(f"no route\nto {url.partition('/PE-')[0]}")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *place: None)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *place: pytest.fail("it would try for minutes"))
    with pytest.raises(FileNotFoundError) as caught:
        find_weights("PE-Core-B16-224")
    text = str(caught.value)
    assert "weights PE-Core-B16-224 from the Hugging Face hub (OSError: no route to https://" in text
    assert "login node" in text
    assert "hf download facebook/PE-Core-B16-224 PE-Core-B16-224.pt" in text
    assert "HF_HOME" in text


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_file(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    state = {k: v.contiguous() for k, v in tiny().state_dict().items()}
    safetensors.torch.save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsError, match=r"cannot be read as weights .* truncated"):
        load_encoder_weights(tiny(), path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_something_else_in_the_place_of_a_file(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 7542702080\n")
    with pytest.raises(WeightsError, match=r"is text that starts with 'version https://.*/v1', .* Git LFS pointer"):
        load_encoder_weights(tiny(), path)


def test_pickle_with_code_is_not_run(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({**tiny().state_dict(), "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(WeightsError, match=r"w\.pt holds more than tensors .*argparse\.Namespace.* it is not opened"):
        load_encoder_weights(tiny(), path)


def test_file_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="holds no named tensors"):
        load_encoder_weights(tiny(), tmp_path / "w.pt")
