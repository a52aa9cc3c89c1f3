"""An identity head on a trained detector, all through the shipped configs: train, resume, evaluate, track."""

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from pe_dense.config import load_config
from pe_dense.data.mot import find_mot_sequences, match_results
from pe_dense.data.scenes import ScenePaths, write_scenes
from pe_dense.engine import evaluate, read_metrics, train
from pe_dense.engine.checkpoint import load_checkpoint
from pe_dense.engine.sharded import read_tensors, step_path
from pe_dense.evaluation.mot import COMBINED, MOT15, evaluate_tracking
from pe_dense.modeling.detection import TrackingRCNN
from pe_dense.modeling.tracking.association import BoTSORT, Tracker
from pe_dense.prediction import load_predictor
from pe_dense.prediction.footage import Footage
from pe_dense.prediction.track_files import track_file

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TRACKED = BoTSORT(high=0.1, low=0.05, new=0.1, reidentify=0.1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenePaths:
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=4, val=1, size=64, videos=2)


def small(scenes: ScenePaths, output_dir: Path, detector: str = "model") -> list[str]:
    return [
        f"data.root={scenes.root}", f"train.output_dir={output_dir}", "train.epochs=null", "train.checkpoint_period=0",
        "train.eval_period=0", "train.log_period=1", "train.device=cpu", "dataloader.train.batch_size=4",
        "dataloader.train.num_workers=0", "dataloader.test.num_workers=0", "dataloader.train.transforms.1.size=64",
        "dataloader.test.transforms.0.short_edge_length=64", "dataloader.test.transforms.0.max_size=64",
        f"{detector}.backbone.backbone.embed_dim=32", f"{detector}.conv_dim=16", f"{detector}.fc_dim=32",
        f"{detector}.test_topk_per_image=8",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def detector(scenes: ScenePaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    changes = ["train.steps=12", "~evaluator", "~dataloader.test", "lr_schedule.warmup_steps=1"]
    kept = [c for c in small(scenes, folder) if not c.startswith("dataloader.test")]
    train(load_config(CONFIGS / "demo" / "mask_rcnn_scenes.py", [*kept, *changes]))
    return folder


def tracking(
    scenes: ScenePaths, detector: Path, output_dir: Path, *changes: str, config: str = "track_identity.py"
) -> DictConfig:
    settings = [f"evaluator.tracker.settings.{key}={getattr(TRACKED, key)}" for key in ("high", "low", "new", "buffer")]
    overrides = [
        *small(scenes, output_dir, "model.detector"), *settings, f"data.train={scenes.mot}", "train.steps=3",
        f"train.init_from={detector}", "model.num_convs=1", "model.conv_dim=16", "model.fc_dim=16",
    ]  # fmt: skip
    return load_config(CONFIGS / "scenes" / config, [*overrides, *changes])


@pytest.mark.slow
def test_train_resume_evaluate_track(scenes: ScenePaths, detector: Path, tmp_path: Path) -> None:
    results = train(tracking(scenes, detector, tmp_path / "whole"))
    assert {"mot/HOTA", "mot/IDF1", "mot/MOTA", "mot/IDSW"} <= results.keys()
    losses = [line for line in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "loss_identity" in line]
    assert len(losses) == 3
    # the detector is still the one that was trained before
    before, after = load_checkpoint(detector).weights, load_checkpoint(tmp_path / "whole").weights
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"identity_head"}

    # what is evaluated alone, or from the files of the tool's functions, is the same
    cfg = load_config(tmp_path / "whole" / "config.yaml")
    assert evaluate(cfg, output=tmp_path / "again") == pytest.approx(results, abs=0)
    predictor = load_predictor(tmp_path / "whole", device="cpu")
    assert isinstance(predictor.model, TrackingRCNN)
    sequences = find_mot_sequences(scenes.mot)
    for sequence in sequences:
        footage = Footage.of(sequence.ground_truth.parents[1])
        tracker = Tracker(TRACKED, class_aware=False, frame_rate=footage.fps)
        report = track_file(footage, predictor, tracker, tmp_path / "tracks", draw=False, batch_size=4)
        assert len(report.results)
        assert tracker._tracks.embeddings.shape[1] == 64  # the head's
    table = evaluate_tracking(match_results(sequences, tmp_path / "tracks"), MOT15)["pedestrian"]
    for name, values in table[COMBINED].metrics().items():
        if f"mot/{name}" in results and name != "IDSW":
            assert results[f"mot/{name}"] in (pytest.approx(100 * values, abs=0.01), values)


def test_resumes_exactly(scenes: ScenePaths, detector: Path, tmp_path: Path) -> None:
    final = {}
    for name, resumed in (("whole", False), ("parts", True)):
        cfg = tracking(scenes, detector, tmp_path / name, "train.checkpoint_steps=1", "train.keep_last=9")
        del cfg.evaluator
        train(cfg)
        if resumed:
            for step in (2, 3):
                shutil.rmtree(step_path(tmp_path / name / "checkpoints", step))
            train(cfg, resume=True)
        final[name] = read_tensors(step_path(tmp_path / name / "checkpoints", 3), "")
    assert final["whole"].keys() == final["parts"].keys() != set()
    assert all(torch.equal(value, final["parts"][name]) for name, value in final["whole"].items())


def test_all_of_it_trains(scenes: ScenePaths, detector: Path, tmp_path: Path) -> None:
    cfg = tracking(scenes, detector, tmp_path / "run", "train.steps=2", config="track_finetune.py")
    del cfg.evaluator
    train(cfg)
    names = read_metrics(tmp_path / "run" / "metrics.jsonl")[0].keys()
    assert {"loss_identity", "loss_similarity", "loss_rpn_cls", "loss_cls", "loss_box_reg"} <= names
    assert "loss_mask" not in names


def test_data_that_cannot_be_learnt_from(scenes: ScenePaths, detector: Path, tmp_path: Path) -> None:
    single = tmp_path / "single" / "clip"
    (single / "gt").mkdir(parents=True)
    (single / "img1").mkdir()
    source = scenes.mot / "scene_000"
    (single / "img1" / "000001.jpg").write_bytes((source / "img1" / "000001.jpg").read_bytes())
    rows = (source / "gt" / "gt.txt").read_text().splitlines(keepends=True)
    (single / "gt" / "gt.txt").write_text("".join(row for row in rows if row.startswith("1,")))
    with pytest.raises(ValueError, match="no two frames of a sequence show the same object"):
        train(tracking(scenes, detector, tmp_path / "run", f"data.train={single.parent}"))
    assert not (tmp_path / "run").exists()
