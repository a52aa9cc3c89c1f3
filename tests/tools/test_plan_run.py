"""What the planning tool prints."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "coco"
TINY = CONFIGS / "mask_rcnn_pe_spatial_t16_36ep.py"
SHALLOW = ["--size", "256", "256", "model.backbone.backbone.depth=3", "model.backbone.backbone.global_blocks=[2]"]
DATA = ["data.root=/nowhere"]


@pytest.fixture
def tool(monkeypatch, capsys):
    """Calls the tool; returns exit status, output and errors."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["plan_run.py", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "90")
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "tools" / "plan_run.py"), run_name="__main__")
        return int(left.value.code or 0), *capsys.readouterr()

    return call


def test_one_config(tool):
    status, out, _ = tool(
        "--config-file", TINY, "--gpu", "a100-80", "--world-size", 16, "--images", 1280, *SHALLOW, *DATA
    )
    assert status == 0
    assert max(map(len, out.splitlines())) <= 90
    assert "2 x 8 A100 SXM 80 GB, DDP, bf16" in out
    lines = {line.strip().split("  ")[0]: line for line in out.splitlines()}
    assert "720" in lines["steps"]  # 36 epochs of 20 steps
    assert "36 epochs" in lines["steps"]
    assert "batch 64 / 16 GPUs" in lines["images per GPU"]
    assert "none <" in lines["blocks recomputed:"]
    for name in ("weights, fp32", "gradients", "optimizer state", "activations", "total", "left", "training"):
        assert name in lines
    none, half, every = map(float, lines["activations"].split()[1:4])
    assert none > half > every


def test_sharded_with_average_from_the_command_line(tool):
    status, out, _ = tool(
        "--config-file", TINY, "--gpu", "h100", "--nodes", 2, "--gpus-per-node", 4, "--images", 1280,
        "--parallel", "fsdp", *SHALLOW, *DATA, "train.ema_decay=0.999", "model.backbone.backbone.checkpoint_every=3",
    )  # fmt: skip
    assert status == 0
    for text in ("2 x 4 H100 SXM 80 GB, FSDP", "gathered by FSDP", "EMA", "all-gather of weights", "1 in 3 <"):
        assert text in out


def test_several_configs_make_a_table(tool):
    other = CONFIGS / "mask_rcnn_pe_spatial_s16_36ep.py"
    status, out, _ = tool(
        "--config-file", TINY, "--config-file", other, "--gpu", "h100", "--images", 1280, *SHALLOW, *DATA,
        "dataloader.train.batch_size=2",
    )  # fmt: skip
    assert status == 0
    assert max(map(len, out.splitlines())) <= 90
    assert "mask_rcnn_pe_spatial_..." in out
    for name in ("t16_36ep", "s16_36ep"):
        assert f" {name} " in out
    assert "…" not in out


@pytest.mark.slow
def test_the_released_recipe_without_data_or_weights(tool):
    status, out, _ = tool(
        "--config-file", CONFIGS / "mask_rcnn_pe_spatial_g14_36ep.py", "--gpu", "h100", "--nodes", 8,
        "--gpus-per-node", 8, *DATA,
    )  # fmt: skip
    assert status == 0
    assert "1,885.68" in out
    assert "66,375" in out
    assert "all <" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "tpu"], 'GPU "tpu" is not known: use one of h200'),
        (["--gpu", "v100"], "no bfloat16 units: set train.precision=fp32"),
        (["--gpu", "h100", "--world-size", "12"], "--world-size 12 does not fill nodes of 8"),
        (["--gpu", "h100", "--world-size", "8", "--nodes", "2"], "give one or the other"),
        (["--gpu", "h100", "--world-size", "0"], "--world-size must be positive"),
        (["--gpu", "h100", "--nodes", "3"], "batch_size 64 cannot be shared by 3 processes"),
        (["--gpu", "h100", "model.nope=1"], "nope"),
    ],
)
def test_errors(tool, arguments, message):
    status, _, errors = tool("--config-file", TINY, "--images", 100, *arguments)
    assert status == 2
    assert message in errors
    assert "Traceback" not in errors
