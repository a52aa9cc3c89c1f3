import argparse
import json

import pytest
import torch

from pe_dense.modeling.backbone import PerceptionEncoder, WeightsError, pe_spatial_g14_448
from projects.deta import DetaPyramid, Noise, build_deta, from_released, load_released_deta, to_released


def tiny(**options):
    torch.manual_seed(0)
    encoder = PerceptionEncoder(16, 1, 2, 32, patch_size=16, grid_size=4)
    sizes = {"hidden_dim": 16, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 2, "feedforward_dim": 8}
    return build_deta(DetaPyramid(encoder), **({"num_classes": 5, "num_queries": 7} | sizes | options))


def test_released_coco_detector(fixtures):
    with torch.device("meta"):
        encoder = pe_spatial_g14_448(
            patch_size=16, grid_size=24, window_size=24, global_blocks=(12, 24, 36, 49), abs_pos="tile",
            rope="rescaled", rope_reference=16, mask_padding=False,
        )  # fmt: skip
        model = build_deta(DetaPyramid(encoder), num_classes=91, square_size=1824)
        shapes = json.loads((fixtures / "pe" / "keys_deta_coco_1824.json").read_text())
        released = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert len(released) == 1183
    stored = {key: value.shape for key, value in released.items() if ".freqs_" not in key}
    assert {key: value.shape for key, value in to_released(model.state_dict()).items()} == stored
    own = model.state_dict()
    assert {key: value.shape for key, value in from_released(released).items()} == {k: v.shape for k, v in own.items()}
    load_released_deta(model, released)
    once = [key for key in stored if not key.startswith(("transformer.decoder.class", "transformer.decoder.bbox"))]
    assert sum(p.numel() for p in model.parameters()) == sum(stored[key].numel() for key in once)


def test_there_and_back():
    model = tiny()
    again = from_released(to_released(model.state_dict()))
    assert set(again) == set(model.state_dict())
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_options_that_the_release_lacks_keep_their_values():
    source, target = tiny(), tiny(denoising=Noise(), with_masks=True)
    torch.nn.init.zeros_(target.transformer.level_embed)
    own = {k: v.clone() for k, v in target.state_dict().items() if k.startswith(("denoising.", "mask_head."))}
    load_released_deta(target, to_released(source.state_dict()))
    assert len(own) > 5
    assert all(torch.equal(target.state_dict()[key], value) for key, value in own.items())
    assert torch.equal(target.transformer.level_embed, source.transformer.level_embed)
    with pytest.raises(WeightsError, match="not that of a DETA detector"):
        to_released(target.state_dict())


def test_aliases():
    state = to_released(tiny().state_dict())
    only = {k: v for k, v in state.items() if not k.startswith(("class_embed", "bbox_embed"))}
    assert set(from_released(only)) == set(tiny().state_dict())
    state["transformer.decoder.class_embed.1.bias"] = torch.ones(5)
    with pytest.raises(WeightsError, match=r"different tensors:\n  transformer.decoder.class_embed.1.bias and class_"):
        from_released(state)


def test_a_file_with_its_command_line(tmp_path):
    source, target = tiny(), tiny()
    torch.nn.init.zeros_(target.transformer.level_embed)
    content = {"model": to_released(source.state_dict()), "epoch": 2, "args": argparse.Namespace(lr=5e-5, bf16=True)}
    torch.save(content, tmp_path / "deta.pth")
    with pytest.raises(WeightsError, match=r"deta\.pth holds the command line .* Set trust_args=True"):
        load_released_deta(target, tmp_path / "deta.pth")
    load_released_deta(target, tmp_path / "deta.pth", trust_args=True)
    assert torch.equal(target.transformer.level_embed, source.transformer.level_embed)


class Harmful:
    def __reduce__(self):
        return (print, ("code of the file runs",))


def test_other_classes_stay_refused(tmp_path, capsys):
    content = {"model": to_released(tiny().state_dict()), "args": argparse.Namespace(x=Harmful())}
    torch.save(content, tmp_path / "deta.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        load_released_deta(tiny(), tmp_path / "deta.pth", trust_args=True)
    assert capsys.readouterr().out == ""


def test_what_does_not_fit_is_named(tmp_path):
    state = to_released(tiny().state_dict())
    with pytest.raises(WeightsError, match=r"classifiers of 5 columns, the model of 9: set num_classes=5, and "):
        load_released_deta(tiny(num_classes=9), state)
    load_released_deta(tiny(num_queries=12), state)  # no weight depends on it
    with pytest.raises(WeightsError, match=r"holds 300 learnt queries .* is not in a file, set num_queries freely"):
        load_released_deta(tiny(), {**state, "query_embed.weight": torch.zeros(300, 32)})
    with pytest.raises(WeightsError, match=r"input_proj.3.0.weight \(not in the model\)"):
        load_released_deta(tiny(num_levels=3), state)
    with pytest.raises(WeightsError, match="not a released DETA detector"):
        load_released_deta(tiny(), {"roi_heads.x": torch.zeros(1)})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_released_deta(tiny(), tmp_path / "nowhere.pth")
