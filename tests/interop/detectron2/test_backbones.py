"""Our encoder and pyramid in detectron2's real models."""

import pytest
import torch

pytest.importorskip("detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError)

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, instantiate
from detectron2.modeling import SimpleFeaturePyramid
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.structures import ImageList
from detectron2.utils.events import EventStorage

from pe_dense.interop.detectron2 import EncoderBackbone, PyramidBackbone, to_detectron2
from pe_dense.modeling.backbone import SpatialPriorPyramid

from .helpers import CHANNELS, LEVELS, SIDE, encoder, pyramid, samples, their_rcnn

CONFIG = """
from detectron2.config import LazyCall as L
from detectron2.modeling import SimpleFeaturePyramid
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from pe_dense.interop.detectron2 import EncoderBackbone, PyramidBackbone
from pe_dense.modeling.backbone import FeaturePyramid, PerceptionEncoder, pe_spatial_t16_512

size = dict(embed_dim=32, depth=2, num_heads=2, mlp_dim=64, grid_size=4)
whole = L(PyramidBackbone)(
    pyramid=L(FeaturePyramid)(backbone=L(PerceptionEncoder)(**size), out_channels=16), square_size=128
)
encoder = L(SimpleFeaturePyramid)(
    net=L(EncoderBackbone)(encoder=L(PerceptionEncoder)(**size)), in_feature="${.net.out_feature}", out_channels=16,
    scale_factors=(4.0, 2.0, 1.0, 0.5), top_block=L(LastLevelMaxPool)(), norm="LN", square_pad=128,
)
encoder.net.out_feature = "last_feat"
named = L(PyramidBackbone)(pyramid=L(FeaturePyramid)(backbone=L(pe_spatial_t16_512)(depth=1)))
"""


def simple_pyramid():
    net = EncoderBackbone(encoder())
    return SimpleFeaturePyramid(
        net, "last_feat", CHANNELS, (4.0, 2.0, 1.0, 0.5), LastLevelMaxPool(), norm="LN", square_pad=SIDE
    )


def test_shapes_are_as_announced():
    backbone = PyramidBackbone(pyramid(), SIDE)
    shapes = backbone.output_shape()
    assert {name: shape.stride for name, shape in shapes.items()} == LEVELS
    assert {shape.channels for shape in shapes.values()} == {CHANNELS}
    for name, level in backbone(torch.rand(2, 3, 64, 96)).items():
        assert level.shape == (2, CHANNELS, 64 // LEVELS[name], -(-96 // LEVELS[name]))  # p6: every other of p5

    single = EncoderBackbone(encoder(), layer=0, out_feature="first")
    assert [(n, s.channels, s.stride) for n, s in single.output_shape().items()] == [("first", 32, 16)]
    assert single(torch.rand(1, 3, 32, 48))["first"].shape == (1, 32, 2, 3)
    assert not any(p.requires_grad for p in single.features.backbone.blocks[1].parameters())  # not needed, not trained


@pytest.mark.parametrize(("square", "padded"), [(0, (96, 128)), (128, (128, 128))])
def test_padding(square, padded):
    backbone = PyramidBackbone(pyramid(), square)
    images = [torch.zeros(3, 70, 100), torch.zeros(3, 90, 60)]
    batch = ImageList.from_tensors(images, backbone.size_divisibility, padding_constraints=backbone.padding_constraints)
    assert batch.tensor.shape[-2:] == padded
    assert EncoderBackbone(encoder()).padding_constraints == {"size_divisibility": 16, "square_size": 0}


@pytest.mark.parametrize("build", [lambda: PyramidBackbone(pyramid(mode="per_level"), SIDE), simple_pyramid])
def test_a_real_rcnn_trains_and_infers(build):
    torch.manual_seed(0)
    model = their_rcnn(build())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    batch = [s | {"instances": to_detectron2(s["instances"], targets=True)} for s in samples()]
    totals = []
    with EventStorage():
        for _ in range(3):
            losses = model(batch)
            total = sum(losses.values())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            totals.append(total.item())
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
    assert totals[-1] < totals[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    outputs = model.eval()(batch)
    assert [o["instances"].image_size for o in outputs] == [(192, 250), (120, 72)]


@pytest.mark.parametrize(("key", "divisor"), [("whole", 32), ("encoder", 0)])
def test_from_detectron2s_lazy_config(tmp_path, key, divisor):
    (tmp_path / "config.py").write_text(CONFIG)
    cfg = LazyConfig.load(str(tmp_path / "config.py"))
    LazyConfig.apply_overrides(cfg, ["whole.square_size=64", "encoder.square_pad=64"])
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    backbone = instantiate(LazyConfig.load(str(tmp_path / "config.yaml"))[key])
    assert backbone.padding_constraints["square_size"] == 64
    assert backbone.size_divisibility == divisor
    assert list(backbone(torch.rand(1, 3, 64, 64))) == list(LEVELS)


def test_named_towers_in_a_lazy_config(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    backbone = instantiate(LazyConfig.load(str(tmp_path / "config.py")).named)
    assert backbone.output_shape()["p6"].channels == 256


@pytest.mark.parametrize("kind", ["last", "weighted", "prior"])
def test_checkpoints_have_vitdets_names_and_come_back(tmp_path, kind):
    def build():
        if kind == "prior":
            return PyramidBackbone(SpatialPriorPyramid(encoder(), CHANNELS))
        return PyramidBackbone(pyramid(mode=kind))

    torch.manual_seed(1)
    model, again = torch.nn.Sequential(build()), torch.nn.Sequential(build())
    state = model.state_dict()
    theirs = {f"0.{name}": value.shape for name, value in simple_pyramid().state_dict().items()}
    assert {name: value.shape for name, value in state.items() if name in theirs} == theirs
    assert all("pyramid" not in name for name in state)
    DetectionCheckpointer(model, str(tmp_path)).save("it")
    tables = {f"0.net.{name}": torch.zeros(2) for name in ("rope_win.freqs_sin", "rope.freqs_cos")}
    incompatible = again.load_state_dict(state | tables)
    assert not incompatible.missing_keys
    for parameter in again.parameters():
        torch.nn.init.zeros_(parameter)
    DetectionCheckpointer(again).load(str(tmp_path / "it.pth"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))


def test_both_backbones_read_each_others_checkpoints():
    torch.manual_seed(2)
    theirs, ours = simple_pyramid(), PyramidBackbone(pyramid(), SIDE)
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 64, 64)
    for name, level in theirs(image).items():
        torch.testing.assert_close(ours(image)[name], level, atol=1e-5, rtol=0)
