"""The layer probe of tracking from config to files, on tiny scenes and on real videos."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from pe_dense.config import LazyCall, instantiate, load_config
from pe_dense.data import DAVIS2016, DAVIS2017, DataError, VideoFolder, YouTubeVOS, write_indexed_png
from pe_dense.data.scenes import write_scenes
from pe_dense.engine import RunDirectoryError, train
from pe_dense.evaluation import VideoObjectEvaluator
from pe_dense.modeling.backbone import EncoderFeatures
from pe_dense.modeling.tracking import TrackerProbe, VideoObjectTracker
from pe_dense.prediction.probing import build_probe, run_probe, with_cache, with_encoder_of

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 9
TINY_TOWER = ["embed_dim=32", "depth=3", "num_heads=2", "mlp_dim=64"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_scenes(tmp_path_factory.mktemp("scenes"), train=2, val=1, size=64, videos=2).root
    for file in (root / "videos" / "davis").glob("*/480p/*/*"):
        if int(file.stem) >= FRAMES:
            file.unlink()
    return root


def recipe(scenes: Path, output: Path, *changes: str) -> DictConfig:
    tower = [f"model.model.backbone.backbone.{change}" for change in TINY_TOWER]
    small = ["model.model.propagation.short_side=64", "model.model.propagation.radius=3"]
    places = [f"data.root={scenes}", f"train.output_dir={output}", "train.device=cpu", "train.num_threads=1"]
    return load_config(ROOT / "configs/probe/scenes_tracking.py", [*tower, *small, *places, *changes])


def probe(cfg: DictConfig, resume: bool = False) -> Any:
    return run_probe(cfg, ["track"], resume)[0]


def alone(cfg: DictConfig, layer: int) -> dict[str, float]:
    """The score of a layer by tracker and evaluator, without the probe."""
    model, data = build_probe(cfg), instantiate(cfg.videos)
    neck = EncoderFeatures(model.backbone.backbone, [layer])
    tracker = VideoObjectTracker(neck, model.propagation, model.pixel_mean, model.pixel_std)
    evaluator = VideoObjectEvaluator(data)
    for sequence in data:
        given = {0: sequence.read_labels(sequence.frames[0])}
        for frame, labels in zip(sequence.frames, tracker.track(map(sequence.read_image, sequence.frames), given)):
            sample = {"sequence": sequence.name, "frame": frame}
            evaluator.process([sample], [{"labels": torch.from_numpy(labels.astype(np.int64))}])
    return evaluator.evaluate()


def test_a_layer_scores_what_its_tracker_scores(scenes: Path, tmp_path: Path) -> None:
    cfg = recipe(scenes, tmp_path / "run", "model.layers=[0,-1]")
    scores, statistics = run_probe(cfg, images=3)
    assert scores.layers == [0, 2]
    assert scores.headlines == ["vos/J&F", "vos/J", "vos/F"]
    for layer in scores.layers:
        expected = alone(cfg, layer)
        assert {name: expected[name] for name in scores.scores} == {k: v[layer] for k, v in scores.scores.items()}
    assert scores.scores["vos/J&F"][0] != scores.scores["vos/J&F"][2]
    assert set(statistics.scores) > {"norm/mean", "tokens/global", "rank/effective", "attention/distance_px"}
    written = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert written["best"]["vos/J&F"] in (0, 2)
    assert set(written["layers"]["2"]) == set(scores.scores)
    assert {"vos/J", "vos/J_recall", "vos/J_decay", "vos/F"} < set(scores.scores)
    for name in ("scores", "statistics"):
        assert all((tmp_path / "run" / f"{name}.{kind}").is_file() for kind in ("json", "csv", "png"))
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_run_that_was_cut_goes_on(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = probe(recipe(scenes, tmp_path / "whole"))
    cfg, steps = recipe(scenes, tmp_path / "cut"), []

    def step(self: TrackerProbe, frame: Any) -> Any:
        steps.append(frame)
        if len(steps) == 10:  # in the second sequence
            raise KeyboardInterrupt
        return original(self, frame)

    original = TrackerProbe.step
    monkeypatch.setattr(TrackerProbe, "step", step)
    with pytest.raises(KeyboardInterrupt):
        probe(cfg)
    folder = tmp_path / "cut" / "tracking" / "sequences"
    assert [f.name for f in folder.iterdir()] == ["scene_000.json"]
    (folder / "scene_001.json.tmp").write_text("half")
    first = folder.joinpath("scene_000.json").read_bytes()
    assert probe(cfg, resume=True).scores == whole.scores
    assert len(steps) == 10 + FRAMES - 2  # of the second sequence; the first frame is given, the last does not count
    assert folder.joinpath("scene_000.json").read_bytes() == first
    assert sorted(f.name for f in folder.iterdir()) == ["scene_000.json", "scene_001.json"]
    assert (tmp_path / "cut" / "scores.csv").read_text() == (tmp_path / "whole" / "scores.csv").read_text()
    steps.clear()
    assert probe(cfg, resume=True).scores == whole.scores
    assert not steps


def test_what_has_changed_is_tracked_again(scenes: Path, tmp_path: Path) -> None:
    """Sequences whose masks are others, and layers that were not probed; those that were stay in the files."""
    davis = tmp_path / "scenes" / "videos" / "davis"
    shutil.copytree(scenes / "videos" / "davis", davis)
    one = probe(recipe(tmp_path / "scenes", tmp_path / "run", "model.layers=[1]"))
    every = probe(recipe(tmp_path / "scenes", tmp_path / "run"), resume=True)
    assert {k: v[1] for k, v in every.scores.items()} == {k: v[1] for k, v in one.scores.items()}
    assert every.layers == [0, 1, 2]
    file = tmp_path / "run" / "tracking" / "sequences" / "scene_001.json"
    before = json.loads(file.read_text())
    write_indexed_png(davis / "Annotations/480p/scene_001/00005.png", np.zeros((64, 64), np.uint8))
    two = probe(recipe(tmp_path / "scenes", tmp_path / "run", "model.layers=[2]"), resume=True)
    after = json.loads(file.read_text())
    assert after["key"] != before["key"]
    assert list(after["layers"]) == ["2"]
    assert two.scores["vos/J"][2] != every.scores["vos/J"][2]


def test_results_of_another_probe_are_not_mixed_in(scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    probe(recipe(scenes, run, "model.layers=[0]"))
    kept = (run / "scores.csv").read_text(), (run / "config.yaml").read_text()
    with pytest.raises(RunDirectoryError, match="already holds the scores of 2 sequences: continue with --resume, ch"):
        probe(recipe(scenes, run))
    for change, message in (
        ("train.seed=1", r"1 key \(encoder \(digest of weights\): \w+ -> \w+\): choose another train.output_dir"),
        ("model.model.propagation.topk=7", r"1 key \(propagation.topk: 5 -> 7\)"),
    ):
        with pytest.raises(RunDirectoryError, match=f"holds the scores of another probe, which differs in {message}"):
            probe(recipe(scenes, run, "model.layers=[0]", change), resume=True)
    assert kept == ((run / "scores.csv").read_text(), (run / "config.yaml").read_text())
    probe(recipe(scenes, run, "model.layers=[0]", "model.model.propagation.tile=4"), resume=True)  # no other result
    other = probe(recipe(scenes, run, "model.layers=[0]", "train.seed=1", "train.overwrite=true"))
    assert (run / "scores.csv").read_text() != kept[0]
    assert probe(recipe(scenes, run, "model.layers=[0]", "train.seed=1"), resume=True).scores == other.scores
    (run / "tracking" / "probe.json").write_text("half")
    with pytest.raises(RunDirectoryError, match=r"probe.json is damaged: delete"):
        probe(recipe(scenes, run, "model.layers=[0]"), resume=True)


def test_the_encoder_of_a_run(scenes: Path, tmp_path: Path) -> None:
    """Of a probe that was trained, which has weights of its own too; its directory is not written to."""
    small = [f"model.model.backbone.backbone.{change}" for change in TINY_TOWER]
    loaders = ["dataloader.train.num_workers=0", "dataloader.test.num_workers=0", "dataloader.train.batch_size=2"]
    short = ["train.epochs=null", "train.steps=1", "train.device=cpu", f"train.output_dir={tmp_path / 'source'}"]
    source = load_config(
        ROOT / "configs/probe/scenes_depth.py", [*small, *loaders, *short, f"data.root={scenes}", "model.layers=[0]"]
    )
    source.train.seed = 5
    train(source)
    cfg = with_encoder_of(recipe(scenes, tmp_path / "probe", "model.layers=[1]"), tmp_path / "source")
    model = build_probe(cfg)
    weight = instantiate(source.model.model.backbone.backbone).conv1.weight
    assert model.backbone.backbone.conv1.weight.shape == weight.shape
    assert probe(cfg).scores["vos/J&F"].keys() == {1}
    cfg.train.output_dir = str(tmp_path / "source")
    with pytest.raises(RunDirectoryError, match="holds a training, and a probe of tracking trains nothing: choose"):
        probe(cfg)
    assert not (tmp_path / "source" / "tracking").exists()


def test_what_cannot_be_done(scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=r"layers \[3\]: the encoder has blocks 0..2"):
        probe(recipe(scenes, run, "model.layers=[3]"))
    with pytest.raises(ValueError, match="there is no knn in this probe, which tracks: choose from track, statistics"):
        run_probe(recipe(scenes, run), ["knn"])
    with pytest.raises(ValueError, match="nothing to cache: leave --cache-gb out"):
        with_cache(recipe(scenes, run), 1.0)
    cfg = recipe(scenes, run)
    cfg.model = cfg.model.model
    with pytest.raises(ValueError, match="the config's model is a VideoObjectTracker, not a TrackerProbe"):
        probe(cfg)
    assert not run.exists()


def test_bad_videos(scenes: Path, tmp_path: Path) -> None:
    davis = tmp_path / "scenes" / "videos" / "davis"
    masks, images = davis / "Annotations" / "480p", davis / "JPEGImages" / "480p"
    cfg = recipe(tmp_path / "scenes", tmp_path / "run", "model.layers=[0]")
    with pytest.raises(FileNotFoundError, match="Annotations and JPEGImages"):
        probe(cfg)
    shutil.copytree(scenes / "videos" / "davis", davis)
    (images / "scene_001" / "00004.jpg").write_bytes(b"bad")
    with pytest.raises(DataError, match=r"scene_001/00004.jpg cannot be decoded"):
        probe(cfg)
    assert (tmp_path / "run" / "tracking" / "sequences" / "scene_000.json").is_file()  # what was done stays
    shutil.copy(images / "scene_001" / "00003.jpg", images / "scene_001" / "00004.jpg")
    write_indexed_png(masks / "scene_001" / "00000.png", np.ones((32, 64), np.uint8))
    with pytest.raises(DataError, match="sequence scene_001, frame 00000: the masks are 32 x 64 but their frame is 64"):
        probe(cfg, resume=True)
    for file in (masks / "scene_001").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"1 sequence without a mask \(.png\): scene_001"):
        probe(cfg, resume=True)
    shutil.rmtree(images)
    cfg.videos = LazyCall(VideoFolder)(annotations=str(masks), sequences=["scene_000"])
    with pytest.raises(DataError, match="1 sequence without images, only masks: scene_000"):
        probe(cfg, resume=True)


def test_objects_that_appear_later(scenes: Path, tmp_path: Path) -> None:
    """YouTube-VOS: an object is tracked and scored from its first mask on, and frames before the first are left out."""
    source = DAVIS2017(scenes / "videos" / "davis", resolution="480p")[0]
    for i, frame in enumerate(source.frames):
        labels = source.read_labels(frame)
        if i >= 2:
            labels = np.where(labels == 1, 1, np.where((labels == 2) & (i >= 4), 2, 0)).astype(np.uint8)
            write_indexed_png(tmp_path / "set" / "Annotations" / "a" / f"{frame}.png", labels)
        (tmp_path / "set" / "JPEGImages" / "a").mkdir(parents=True, exist_ok=True)
        shutil.copy(source.images[frame], tmp_path / "set" / "JPEGImages" / "a" / f"{frame}.jpg")
    cfg = recipe(scenes, tmp_path / "run", "model.layers=[2]")
    cfg.videos = LazyCall(YouTubeVOS)(root=str(tmp_path / "set"))
    scores = probe(cfg)
    written = json.loads((tmp_path / "run" / "tracking" / "sequences" / "a.json").read_text())
    assert [len(one["frames"]) for one in written["objects"]] == [6, 4]
    model, data = build_probe(cfg), instantiate(cfg.videos)
    tracker = VideoObjectTracker(EncoderFeatures(model.backbone.backbone, [2]), model.propagation)
    given = {2: data[0].read_labels(source.frames[2])}
    later = data[0].read_labels(source.frames[4])
    given[4] = np.where(later == 2, 2, 0)
    evaluator = VideoObjectEvaluator(data)
    for frame, labels in zip(source.frames, tracker.track(map(source.read_image, source.frames), given)):
        evaluator.process([{"sequence": "a", "frame": frame}], [{"labels": torch.from_numpy(labels.astype(np.int64))}])
    assert scores.scores["vos/J&F"][2] == evaluator.evaluate()["vos/J&F"]


def test_real_videos(real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A few frames of DAVIS at a small size; random weights keep some of a swan that hardly moves."""
    cfg = load_config(
        ROOT / "configs/probe/davis_pe_spatial_t16.py",
        ["model.model.backbone.backbone.weights=null", "model.model.backbone.backbone.depth=3", "model.layers=[0,2]",
         "model.model.propagation.short_side=160", "model.model.propagation.long_multiple=16", "train.device=cpu",
         f"train.output_dir={tmp_path / 'run'}"],
    )  # fmt: skip
    whole = DAVIS2016(real_data / "davis2016_val", None)
    for name in ("blackswan", "libby"):
        [sequence] = whole.select([name])
        for folder, files in (("JPEGImages", sequence.images), ("Annotations", sequence.annotations)):
            target = tmp_path / "DAVIS" / folder / "480p" / name
            target.mkdir(parents=True)
            for file in list(files.values())[:5]:
                shutil.copy(file, target)
    cfg.videos = LazyCall(DAVIS2016)(root=str(tmp_path / "DAVIS"), split=None)
    with caplog.at_level(logging.INFO, "pe_dense"):
        scores = probe(cfg)
    assert scores.scores["vos/J"] == {layer: alone(cfg, layer)["vos/J"] for layer in (0, 2)}
    by_sequence = {
        name: json.loads((tmp_path / "run" / "tracking" / "sequences" / f"{name}.json").read_text())
        for name in ("blackswan", "libby")
    }
    swan = np.array(by_sequence["blackswan"]["layers"]["2"])
    assert swan.shape == (1, 3, 2)  # objects, frames without the first and the last, J and F
    assert swan[..., 0].min() > 0.3
    assert sum("J&F" in record.getMessage() for record in caplog.records) == 2
