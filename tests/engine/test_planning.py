"""Plans against numbers made by hand, real steps and the memory of real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pe_dense.config import instantiate, load_config
from pe_dense.engine.analysis import Part, analyze
from pe_dense.engine.build import without_pretrained
from pe_dense.engine.hardware import GPUS, Setup
from pe_dense.engine.planning import (
    Needs,
    communication,
    images_per_pass,
    make_plan,
    memory,
    step_times,
)
from pe_dense.engine.settings import TrainSettings
from pe_dense.engine.simulation import StepCost, imitated, training_batch, training_step
from pe_dense.modeling.backbone import PerceptionEncoder

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "demo" / "mask_rcnn_scenes.py"
TINY = ROOT / "configs" / "coco" / "mask_rcnn_pe_spatial_t16_36ep.py"


class Two(nn.Module):
    """Two layers without bias, the first optionally frozen."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 16, bias=False)
        self.second = nn.Linear(16, 4, bias=False)

    def forward(self, batch):
        return {"loss": self.second(self.first(torch.ones(5, 8))).sum()}


def test_step_by_hand():
    with torch.device("meta"):
        model = Two()
    with imitated(model) as model:
        step = training_step(model, [])
    forward = 2 * 5 * (8 * 16 + 16 * 4)
    assert step.forward == forward
    assert step.backward == 2 * forward - 2 * 5 * 8 * 16  # the input needs no gradient
    assert step.with_copies == step.activations  # nothing is copied in float32
    assert step.with_gradients >= 4 * (8 * 16 + 16 * 4)
    # the input, the hidden layer and its gradient, a weight's gradient while it is made, at least
    assert 4 * 5 * (8 + 16) < step.activations < 4 * (5 * (8 + 16 + 16 + 4 + 4) + 8 * 16 + 16 * 4)


class Encoder(nn.Module):
    """An encoder with the interface of a model that trains."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, batch):
        return {"loss": self.encoder(torch.stack([s["image"] for s in batch]).float()).sum()}


def encoder(**options):
    return PerceptionEncoder(64, 4, 4, 256, patch_size=8, grid_size=8, window_size=4, global_blocks=[3], **options)


def test_flops_are_those_of_the_analysis():
    with torch.device("meta"):
        model = Encoder(encoder())
    with imitated(model) as model:
        step = training_step(model, training_batch(2, 64, 64, 1))
    assert step.forward == analyze(encoder(), torch.zeros(2, 3, 64, 64)).parts[0].flops


def test_copies_of_weights_are_told_apart():
    with torch.device("meta"):
        model = Encoder(encoder())
    with imitated(model) as model:
        plain, mixed = (training_step(model, training_batch(1, 128, 128, 1), p) for p in ("fp32", "bf16"))
    assert plain.with_copies == plain.activations
    in_blocks = 4 * (64 * 4 * 64 + 2 * 64 * 256)
    assert 0.8 * 2 * in_blocks < mixed.with_copies - mixed.activations < 1.2 * 2 * in_blocks
    assert mixed.activations < 0.8 * plain.activations


def test_recomputed_blocks_save_memory_and_cost_a_forward_pass():
    steps = {}
    for every in (0, 2, 1):
        with torch.device("meta"):
            model = Encoder(encoder(checkpoint_every=every))
        with imitated(model) as model:
            steps[every] = training_step(model, training_batch(1, 64, 64, 1))
    assert steps[0].activations > steps[2].activations > steps[1].activations
    once = steps[1].backward - steps[0].backward
    patches = 2 * 64 * 64 * 3 * 8 * 8  # of the patch embedding
    last = 4 * 2 * 64 * 256 * 64  # recomputation stops before a block's last product: nothing needs its result
    assert once == steps[1].forward - patches - last
    assert steps[2].backward - steps[0].backward == pytest.approx(once / 2, rel=0.1)


def test_imitated_and_real_tensors_agree():
    cfg = load_config(DEMO, ["model.num_classes=3"])
    build = lambda: instantiate(without_pretrained(cfg).model)
    with torch.device("meta"):
        model = build()
    with imitated(model) as model:
        expected = training_step(model, training_batch(2, 160, 160, 40))
    torch.manual_seed(0)
    real = training_step(build(), crowd(2, 160, 40))
    for name in ("activations", "with_gradients", "forward", "backward"):
        assert getattr(real, name) == pytest.approx(getattr(expected, name), rel=0.02), name


def crowd(images, side, objects):
    """Noise with boxes all over it."""
    batch = training_batch(images, side, side, objects)
    for sample in batch:
        sample["image"] = torch.randint(0, 256, sample["image"].shape, dtype=torch.uint8)
        corner, size = side * 0.7 * torch.rand(objects, 2), side * (0.05 + 0.2 * torch.rand(objects, 2))
        sample["instances"].boxes = torch.cat([corner, corner + size], dim=1)
    return batch


def needs(**changes):
    """A model of 100 parameters, 90 trained, in 8 units of 10, with an average."""
    steps = {0: StepCost(5000, 5200, 5300, 10**12, 2 * 10**12), 1: StepCost(900, 1100, 1400, 10**12, 3 * 10**12)}
    values = {
        "parts": [Part("", 100, 90, 0, 0)], "units": [10] * 8, "weights": 400, "gradients": 360, "optimizer": 720,
        "average": 400, "images": 2, "configured": 1, "steps": steps,
    }  # fmt: skip
    return Needs(**(values | changes))


def settings(**changes):
    return TrainSettings("x", **({"steps": 100, "precision": "bf16", "ema_decay": 0.9} | changes))


def by_name(rows):
    return {row.name: row.value for row in rows}


def test_memory_of_one_process_counts_the_gradients_that_are_there():
    n = needs()
    rows = by_name(memory(n, n.steps[1], settings(), Setup(GPUS["h100"], reserve=7)))
    assert rows == {
        "weights, fp32": 400, "weights, bf16 copies": 200, "gradients": 300, "optimizer state": 720, "EMA": 400,
        "activations": 900, "reserve": 7,
    }  # fmt: skip


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2)])
def test_memory_with_all_gradients(world, accumulate):
    n = needs(average=0)
    rows = by_name(memory(n, n.chosen, settings(accumulate=accumulate), Setup(GPUS["h100"], 1, world)))
    assert rows["gradients"] == 360
    assert "EMA" not in rows


def test_memory_of_a_shard():
    n = needs()
    rows = by_name(memory(n, n.chosen, settings(parallel="fsdp"), Setup(GPUS["h100"], 2, 4)))
    assert rows["weights, fp32"] == 400 / 8
    assert rows["gradients"] == 360 / 8
    assert rows["optimizer state"] == 720 / 8
    assert rows["EMA"] == 400 / 8
    assert rows["gathered by FSDP"] == 2 * 2 * 10 + (2 + 4) * 10 + (8 + 2) * 20
    kept = by_name(memory(n, n.chosen, settings(parallel="fsdp", reshard=False), Setup(GPUS["h100"], 2, 4)))
    assert kept["gathered by FSDP"] - rows["gathered by FSDP"] == 2 * (80 - 20)
    parts = by_name(memory(n, n.chosen, settings(parallel="fsdp", accumulate=2), Setup(GPUS["h100"], 2, 4)))
    assert parts["gathered by FSDP"] - rows["gathered by FSDP"] == 4 * 80


def test_communication_by_hand():
    n = needs()
    ddp = by_name(communication(n, settings(), Setup(GPUS["h100"], 2, 4)))
    assert ddp == {"all-reduce of gradients": 2 * 7 / 8 * 360}
    fsdp = by_name(communication(n, settings(parallel="fsdp"), Setup(GPUS["h100"], 2, 4)))
    assert fsdp == {
        "all-gather of weights": 7 / 8 * (2 * 2 * 80 + 4 * 20),
        "reduce-scatter of gradients": 7 / 8 * 360,
    }
    kept = by_name(communication(n, settings(parallel="fsdp", reshard=False, accumulate=3), Setup(GPUS["h100"], 2, 4)))
    assert kept["all-gather of weights"] == 3 * 7 / 8 * (2 * 80 + 4 * 20)
    assert sum(by_name(communication(n, settings(), Setup(GPUS["h100"]))).values()) == 0


def test_times_overlap():
    speed = 989e12 * 0.5
    slow = needs(gradients=50 * 10**9)
    setup = Setup(GPUS["h100"], 2, 8, utilization=0.5)
    rows = by_name(step_times(slow, settings(), setup))
    assert rows["computing"] == pytest.approx(4e12 / speed)
    sent = 2 * 15 / 16 * 50e9 / 50e9  # 400 Gbit/s between nodes
    assert rows["communicating"] == pytest.approx(sent)
    assert rows["step"] == pytest.approx(1e12 / speed + sent)
    fast = by_name(step_times(needs(), settings(), setup))
    assert fast["step"] == pytest.approx(fast["computing"])


def test_messages():
    with pytest.raises(ValueError, match=r"batch_size 30 cannot be shared by 8 processes"):
        images_per_pass(30, 8, 1)
    with pytest.raises(ValueError, match=r"batch_size 8 cannot be shared by 8 processes in train.accumulate=2"):
        images_per_pass(8, 8, 2)
    assert images_per_pass(24, 8, 2) == 2
    with pytest.raises(ValueError, match=r"no bfloat16 units: set train.precision=fp32"):
        Setup(GPUS["v100"]).peak("bf16")
    for wrong in ({"nodes": 0}, {"utilization": 1.5}):
        with pytest.raises(ValueError, match=r"must"):
            Setup(GPUS["h100"], **wrong)
    cfg = load_config(TINY, ["data.root=/nowhere"])
    with pytest.raises(ValueError, match="give --images"):
        make_plan(cfg, Setup(GPUS["h100"]))
    cfg = load_config(DEMO, ["model.num_classes=3"])
    with pytest.raises(ValueError, match="give --size"):
        make_plan(cfg, Setup(GPUS["h100"]), images=100)


MEASURE = """
import gc, sys, threading, time
import torch
sys.path.insert(0, sys.argv[1])
from test_planning import build, crowd
torch.set_num_threads(1)
side, images, objects = map(int, sys.argv[2:5])

def steps(side, count):
    model, optimizer = build(sys.argv[5:])
    batch = crowd(images, side, objects)
    for _ in range(count):
        torch.stack(list(model(batch).values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

torch.manual_seed(0)
steps(64, 1)  # libraries and their buffers
gc.collect()


def own_memory():  # without the pages of libraries, which come as they are needed
    resident, shared = open("/proc/self/statm").read().split()[1:3]
    return 4096 * (int(resident) - int(shared))

def watch():
    global most
    while True:
        most = max(most, own_memory())
        time.sleep(0.001)

before = most = own_memory()
threading.Thread(target=watch, daemon=True).start()
steps(side, 2)
print(most - before)
"""


def build(arguments):
    """Model and optimiser of a config with random weights."""
    cfg = load_config(arguments[0], arguments[1:])
    model = instantiate(without_pretrained(cfg).model).train()
    return model, instantiate(cfg.optimizer)(model)


SMALL_BATCH = [DEMO, "model.num_classes=5"]
TINY_TOWER = [TINY, "train.precision=fp32", "model.roi_batch_size_per_image=64", "model.square_size=null"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from Linux's /proc")
@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.parametrize(("side", "images", "arguments"), [(320, 4, SMALL_BATCH), (384, 1, TINY_TOWER)])
def test_memory_of_a_real_process(side, images, arguments, every):
    """Within 15 % of the most memory that a process takes for the second step.

    malloc has to give memory back at once, or the peak would be that of its free lists.
    """
    objects = 40
    overrides = [
        *map(str, arguments), f"model.backbone.backbone.checkpoint_every={every}",
        f"dataloader.train.batch_size={images}",
    ]  # fmt: skip
    plan = make_plan(
        load_config(overrides[0], overrides[1:]), Setup(GPUS["h100"], reserve=0), (side, side), objects, images=100
    )
    expected = sum(row.value for row in memory(plan.needs, plan.needs.chosen, plan.settings, plan.setup))
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(side), str(images), str(objects)]
    measured = int(subprocess.run([*command, *overrides], env=env, check=True, capture_output=True).stdout)
    print(f"planned {expected / 1e6:.1f} MB, measured {measured / 1e6:.1f} MB, ratio {expected / measured:.3f}")
    assert expected == pytest.approx(measured, rel=0.15)
