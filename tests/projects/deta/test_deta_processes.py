"""Several processes, or several parts of a batch: what is learnt is that of all objects together, whoever has them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pe_dense.engine import TrainSettings
from pe_dense.engine.trainer import Trainer
from pe_dense.launch import launch
from pe_dense.modeling.backbone import PerceptionEncoder
from pe_dense.modeling.detection import Matcher
from pe_dense.structures import Instances
from projects.deta import DetaPyramid, HungarianAssigner, Noise, OverlapAssigner, Varifocal, build_deta

VARIANTS = {
    "everything": {
        "denoising": Noise(6, label_noise=0.0, box_noise=0.0, contrastive=False), "look_forward_twice": True,
        "with_masks": True, "classification": Varifocal(), "checkpoint_layers": True,
    },
    "matched": {"assigner": HungarianAssigner(), "first_stage_assigner": HungarianAssigner()},
}  # fmt: skip


def tiny(**options):
    """Without chance: all positive boxes are drawn, and noise is none."""
    torch.manual_seed(0)
    encoder = PerceptionEncoder(16, 1, 2, 32, patch_size=16, grid_size=4)
    fixed = {
        "hidden_dim": 24, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 2, "feedforward_dim": 8,
        "num_queries": 20, "square_size": 64,
        "assigner": OverlapAssigner(Matcher([0.6], [0, 1], True), 100_000, 1.0),
        "first_stage_assigner": OverlapAssigner(Matcher([0.3, 0.7], [0, -1, 1], True), 100_000, 1.0),
    }  # fmt: skip
    return build_deta(DetaPyramid(encoder), num_classes=3, **(fixed | options)).train()


def samples():
    """Five objects, none, one, none."""
    generator = torch.Generator().manual_seed(0)
    boxes = [[[4.0 + i, 4, 30 + 6 * i, 40] for i in range(5)], [], [[10.0, 10, 20, 50]], []]
    return [
        {
            "image": torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8),
            "instances": Instances(
                (64, 64), torch.tensor(b).reshape(-1, 4), torch.arange(len(b)) % 3, masks=torch.ones(len(b), 64, 64) > 0
            ),
        }
        for b in boxes
    ]


def gradients(model, batch):
    sum(model(batch).values()).backward()
    return {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}


def stepped(batch, accumulate):
    """Losses and weights after a step in so many parts."""
    model = tiny(**VARIANTS["everything"])
    settings = TrainSettings("unused", steps=1, accumulate=accumulate)
    loader = SimpleNamespace(steps_per_epoch=1.0, batch_size=len(batch))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    trainer = Trainer(settings, model, optimizer, lambda step: 1.0, loader, torch.device("cpu"))
    trainer.train_step(batch)
    return trainer.values, model.state_dict()


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_parts_of_a_batch(accumulate):
    """Objects weigh alike, whether their part has many or few of them or it is one without any."""
    expected, weights = stepped(samples(), 1)
    found, after = stepped(samples(), accumulate)
    assert found == pytest.approx(expected, rel=1e-4)
    for key, value in weights.items():
        torch.testing.assert_close(after[key], value, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
    nothing = stepped(samples()[1::2] * 2, 1)
    assert stepped(samples()[1::2] * 2, accumulate)[0] == pytest.approx(nothing[0], rel=1e-4)


def one_of_two(folder):
    """Each process has half of the batch; the second one no object. As on a GPU: no search for unused parameters."""
    part = samples()[:1] if dist.get_rank() == 0 else samples()[1:2]
    for name, options in VARIANTS.items():
        for static in (False, True):
            model = DistributedDataParallel(tiny(**options), static_graph=static)
            gradients(model, part)  # a static graph is what the first step had
            model.zero_grad()
            torch.save(gradients(model, part), f"{folder}/{name}_{static}_{dist.get_rank()}.pt")


@pytest.mark.slow
def test_a_process_without_objects(tmp_path: Path) -> None:
    """No process waits for another, and the gradients are those of one process with both images."""
    launch(one_of_two, 2, [str(tmp_path)], "gloo")
    for name, options in VARIANTS.items():
        expected = gradients(tiny(**options), samples()[:2])
        for path in sorted(tmp_path.glob(f"{name}_*.pt")):
            found = torch.load(path)
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}")
    assert len(list(tmp_path.glob("*.pt"))) == 8
