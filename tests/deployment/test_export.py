"""Exported files against the models that they were made of."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from pe_dense.deployment import ExportError, ExportGraph, ExportSource, export, export_model, files, read_facts
from pe_dense.modeling.backbone import EncoderFeatures, FeaturePyramid, PerceptionEncoder, SpatialPriorPyramid
from pe_dense.modeling.depth import SigLoss, build_linear_depth
from pe_dense.modeling.segmentation import build_linear_segmenter
from projects.deta import DetaPyramid

PADDED: dict[str, Any] = {"window_size": 3, "global_blocks": [1]}  # 4 x 6 patches are no whole number of windows


def encoder(**changes: Any) -> PerceptionEncoder:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "mlp_dim": 32,
        "patch_size": 16,
        "grid_size": 3,
    }
    return PerceptionEncoder(**(sizes | changes))


NECKS = {
    "windows, tiled positions": lambda: FeaturePyramid(encoder(**PADDED, abs_pos="tile", rope="rescaled"), 8),
    "released padding, prior": lambda: SpatialPriorPyramid(
        encoder(**PADDED, mask_padding=False), 8, levels=["p3", "p4"], prior_channels=4
    ),
    "bicubic positions, DETA": lambda: DetaPyramid(encoder(**PADDED, abs_pos="bicubic", layer_scale=0.1)),
    "class token, global": lambda: EncoderFeatures(
        encoder(use_cls_token=True, use_ln_post=True, pool=True, output_dim=4), [0, -1], norm=True
    ),
}


def photo(batch: int = 2) -> Tensor:
    """B x 3 x 64 x 96 pixels, smooth."""
    steps = torch.linspace(0, 250, 96)
    return (steps + torch.arange(3 * batch)[:, None, None]).expand(-1, 64, -1).reshape(batch, 3, 64, 96).to(torch.uint8)


def run_onnx(path: Path, image: Tensor) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(None, {"image": image.numpy()}))))


def run_program(path: Path, image: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.export.load(path).module()(image)
    return found


def wanted_maps(neck: nn.Module, image: Tensor) -> dict[str, Tensor]:
    features = neck((image.float() - 127.5) / 127.5)
    if isinstance(features, dict):
        return features
    return {k: v for i, f in enumerate(features) for k, v in ((f"block{i}", f.map), (f"block{i}_cls", f.cls))}


@pytest.mark.parametrize("name", NECKS)
@torch.no_grad()
def test_files_equal_the_model(name: str, tmp_path: Path) -> None:
    neck = NECKS[name]().eval()
    paths = [tmp_path / "m.pt2", tmp_path / "m.onnx"][: 1 if "global" in name else 2]  # ONNX takes seconds
    written = export_model(ExportSource(ExportGraph(neck)), paths, (64, 96), 2)
    assert [file.path for file in written] == paths
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    wanted = wanted_maps(neck, photo())
    for path in paths:
        outputs = run_onnx(path, photo()) if path.suffix == ".onnx" else run_program(path, photo())
        assert list(outputs) == list(wanted)
        for key, value in wanted.items():
            torch.testing.assert_close(outputs[key], value, atol=1e-4, rtol=0)
    for file in written:
        assert {k: d.shape for k, d in file.differences.items()} == {k: tuple(v.shape) for k, v in wanted.items()}
        assert all(d.largest < 1e-4 < d.scale for d in file.differences.values())
    used = {n.removeprefix("neck.") for n in torch.export.load(tmp_path / "m.pt2").state_dict}
    assert used == {n for n in neck.state_dict() if "attn_pool" not in n and n != "backbone.proj"}


@torch.no_grad()
def test_predictions_of_dense_models(tmp_path: Path) -> None:
    neck = EncoderFeatures(encoder(), [0, 1])
    depth = build_linear_depth(
        neck, use_cls=False, bins=8, losses={"loss": SigLoss()}, pixel_mean=[120, 110, 100]
    ).eval()
    [file] = export_model(ExportSource(ExportGraph.of_model(depth)), [tmp_path / "depth.pt2"], (64, 96), 2)
    wanted = torch.stack([found["depth"] for found in depth([{"image": image} for image in photo()])])
    torch.testing.assert_close(run_program(file.path, photo())["depth"], wanted, atol=1e-4, rtol=0)
    segmenter = build_linear_segmenter(neck, num_classes=5).eval()
    source = ExportSource(ExportGraph.of_model(segmenter), "mine", None, ("a", "b", "c", "d", "e"))
    [file] = export_model(source, [tmp_path / "classes.onnx"], (64, 96), 2)
    labels = torch.stack([found["sem_seg"] for found in segmenter([{"image": image} for image in photo()])])
    assert (run_onnx(file.path, photo())["sem_seg"] == labels).float().mean() > 0.999
    assert len(labels.unique()) > 1
    facts = read_facts(file.path)
    assert (facts["source"], facts["classes"], facts["model"]) == (
        "mine",
        ["a", "b", "c", "d", "e"],
        "SemanticSegmenter",
    )
    assert facts["outputs"] == {"sem_seg": {"shape": [2, 64, 96], "dtype": "int64"}}


@torch.no_grad()
def test_normalized_input_in_half_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_IN_ONE_FILE", 0)
    neck = FeaturePyramid(encoder(depth=1), 8, levels=["p4"]).eval()
    image = (photo(1).float() - 100) / 50
    wanted = neck(image)["p4"]
    graph = ExportGraph(neck, pixel_mean=[100, 100, 100], pixel_std=[50, 50, 50], normalized=True)
    paths = [tmp_path / "new" / "half.onnx", tmp_path / "new" / "half.pt2"]
    written = export_model(ExportSource(graph), paths, (64, 96), precision="fp16")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["half.onnx", "half.onnx.data", "half.pt2"]
    found = run_onnx(paths[0], image)["p4"]
    assert found.dtype == torch.float32
    assert 1e-6 < (found - wanted).abs().max() < 0.02 * wanted.abs().max()
    assert written[0].differences["p4"].largest > 1e-6
    for path in paths:
        facts = read_facts(path)
        assert facts["precision"] == "fp16"
        assert facts["outputs"] == {"p4": {"shape": [1, 8, 4, 6], "dtype": "float32", "channels": 8, "stride": 16}}
        assert facts["input"] == {
            "name": "image", "shape": [1, 3, 64, 96], "dtype": "float32",
            "values": "(pixel - pixel_mean) / pixel_std of RGB, 0..255",
            "pixel_mean": [100, 100, 100], "pixel_std": [50, 50, 50],
        }  # fmt: skip
    assert not any("stack_trace" in p.key for n in onnx.load(paths[0]).graph.node for p in n.metadata_props)


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.pt2"
    path.write_text("of before")
    source = ExportSource(ExportGraph(FeaturePyramid(encoder(depth=1), 8, levels=["p4"])))
    monkeypatch.setattr(export, "run_file", lambda path, image: {"p4": torch.full((1, 8, 4, 6), 7.0)})
    with pytest.raises(ExportError, match=r"m\.pt2 is not written: its output p4 differs from the model's by \d"):
        export_model(source, [path], (64, 96))
    monkeypatch.setattr(export, "run_file", lambda path, image: {"p4": torch.full((1, 8, 4, 6), np.inf)})
    with pytest.raises(ExportError, match="output p4 overflows in this precision: take bf16 or fp32"):
        export_model(source, [path], (64, 96), precision="fp16")
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt2"]
    assert path.read_text() == "of before"
    with pytest.raises(ExportError, match=r"m\.pt2 cannot be read"):
        read_facts(path)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("m.onnx", {"image_size": (64, 100)}, r"image size 64 x 100 .* multiples of 32; try 64 x 96"),
        ("m.onnx", {"image_size": (0, 64)}, r"image size 0 x 64 .* try 32 x 64"),
        ("m.onnx", {"image_size": None}, "give an image size"),
        ("m.onnx", {"batch": 0}, "a batch of 0 images cannot be"),
        ("m.onnx", {"precision": "bf16"}, r"m\.onnx: onnxruntime cannot run bf16"),
        ("m.onnx", {"opset": 9}, "opset 9 is not one of 18 to 23: leave it out for 20"),
        ("m.engine", {}, r"m\.engine must end in \.onnx, or \.pt2"),
    ],
)
def test_what_cannot_be_exported(name: str, arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = ExportSource(ExportGraph(FeaturePyramid(encoder(), 8)))
    with pytest.raises(ExportError, match=message):
        export_model(source, [tmp_path / name], **({"image_size": (64, 96)} | arguments))
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ExportSource(ExportGraph(FeaturePyramid(encoder(), 8)))
    monkeypatch.setattr(export.shutil, "disk_usage", lambda folder: type("", (), {"free": 10}))
    with pytest.raises(ExportError, match=r"m\.pt2 takes .* GB, 0\.0 GB are free: make room"):
        export_model(source, [tmp_path / "m.pt2"], (64, 96))
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None if name != "onnx" else name)
    with pytest.raises(
        ExportError, match=r"m\.onnx needs the packages onnxscript, onnxruntime: pip install onnxscript onnxruntime"
    ):
        export_model(source, [tmp_path / "m.onnx"], (64, 96))


def test_models_whose_predictions_change_shape() -> None:
    neck = EncoderFeatures(encoder(), [0, 1])
    flipped = build_linear_depth(neck, use_cls=False, bins=8, losses={"loss": SigLoss()}, flip_test=True)
    with pytest.raises(ExportError, match=r"looks at each image more than once.* set model\.flip_test=false"):
        ExportGraph.of_model(flipped)
    assert ExportGraph.of_model(flipped, "features").description == "EncoderFeatures"
    with pytest.raises(ExportError, match="a Linear cannot be exported"):
        ExportGraph.of_model(nn.Linear(2, 2))
