"""Evaluation loop, and the note of what was evaluated."""

import json
import re
from pathlib import Path

import pytest
import torch
from toy_run import NUM_IMAGES, ToyDataset, ToyEvaluator, ToyModel, ToyTestLoader, make_config

from pe_dense.config import ConfigError, load_config
from pe_dense.data.scenes import ScenePaths, write_scenes
from pe_dense.engine import TrainSettings, evaluate, train
from pe_dense.engine.build import build_trainer
from pe_dense.engine.inference import run_inference
from pe_dense.engine.run import prepare
from pe_dense.engine.run_directory import RunDirectoryError
from pe_dense.engine.sharded import step_path

ROOT = Path(__file__).resolve().parents[2]
CASCADE = "model._target_=pe_dense.modeling.detection.build_cascade_mask_rcnn"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenePaths:
    return write_scenes(tmp_path_factory.mktemp("scenes"), train=2, val=1, size=64, videos=0)


def test_every_image_once_and_nothing_changes() -> None:
    torch.manual_seed(0)
    model = ToyModel(dropout=0.9).train()
    evaluator = ToyEvaluator()
    state = torch.get_rng_state()
    loader = ToyTestLoader(ToyDataset())
    first = run_inference(model, loader, evaluator, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert len(evaluator.right) == NUM_IMAGES
    assert run_inference(model, loader, evaluator, torch.device("cpu")) == first  # reset, no dropout


def test_cut_short() -> None:
    evaluator = ToyEvaluator()
    loader = ToyTestLoader(ToyDataset())
    stop = lambda: len(evaluator.right) >= 3
    assert run_inference(ToyModel(), loader, evaluator, torch.device("cpu"), should_stop=stop) is None
    assert len(evaluator.right) == 3


def test_results_of_another_evaluation_are_not_overwritten(tmp_path: Path) -> None:
    cfg = make_config(tmp_path / "run", steps=2)
    results = train(cfg)
    record = tmp_path / "run" / "inference" / "evaluation.json"
    of_training = json.loads(record.read_text())
    assert (of_training["checkpoint"], of_training["step"], of_training["results"]) == (None, 2, results)

    cfg.dataloader.test.num_workers = 3  # does not matter to the results
    assert evaluate(cfg)["bbox/AP"] == results["bbox/AP"]
    again = json.loads(record.read_text())
    assert (again["checkpoint"], again["step"]) == (str(tmp_path / "run" / "checkpoints" / "best.safetensors"), 2)

    cfg.dataloader.test.dataset.num_images = 6
    message = r"differs in 1 key \(dataloader\.test\.dataset\.num_images: 12 -> 6\): choose another --output"
    with pytest.raises(RunDirectoryError, match=message):
        evaluate(cfg)
    assert json.loads(record.read_text()) == again
    checkpoint = step_path(tmp_path / "run" / "checkpoints", 2)
    other = evaluate(cfg, checkpoint, output=tmp_path / "other")
    assert {p.name for p in (tmp_path / "other").iterdir()} == {"evaluation.json", "log.txt"}
    written = json.loads((tmp_path / "other" / "evaluation.json").read_text())
    assert (written["checkpoint"], written["step"], written["results"]) == (str(checkpoint), 2, other)
    assert written["config"]["dataloader"]["test"]["dataset"]["num_images"] == 6
    assert json.loads(record.read_text()) == again
    assert "evaluating" not in (tmp_path / "run" / "log.txt").read_text().split("best.safetensors (step 2)")[1]


def test_record_of_an_evaluation_that_did_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ToyEvaluator) -> dict[str, float]:
        raise InterruptedError

    cfg = make_config(tmp_path, steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(ToyEvaluator, "evaluate", broken)
        with pytest.raises(InterruptedError):
            evaluate(cfg)
    record = tmp_path / "inference" / "evaluation.json"
    assert json.loads(record.read_text())["results"] is None
    evaluate(cfg)
    record.write_text("{")
    with pytest.raises(
        RunDirectoryError, match=r"evaluation\.json is damaged .*: delete it, or choose another --output"
    ):
        evaluate(cfg)


@pytest.mark.parametrize(
    ("recipe", "model", "key", "changes"),
    [
        ("configs/demo/mask_rcnn_scenes.py", "model", "evaluator", []),
        ("configs/demo/mask_rcnn_scenes.py", "model", "evaluator", [CASCADE]),
        ("projects/deta/configs/scenes_small.py", "model", "evaluator", []),
        ("configs/multitask/scenes_small.py", "model.tasks.detection", "evaluator.detection", []),
    ],
)
def test_masks_that_are_scored_and_predicted(
    scenes: ScenePaths, caplog: pytest.LogCaptureFixture, recipe: str, model: str, key: str, changes: list[str]
) -> None:
    """If only one of it, the user hears of it before the first step."""

    def build(predicted: bool, tasks: str) -> str:
        caplog.clear()
        cfg = load_config(ROOT / recipe, [
            f"data.root={scenes.root}", "train.device=cpu", f"{model}.with_masks={predicted}", f"{key}.tasks={tasks}",
            *changes,
        ])  # fmt: skip
        build_trainer(*prepare(cfg, (), TrainSettings))
        return caplog.text

    message = f"{key}.tasks contains segm but the model predicts no masks: set {key}.tasks=[bbox]"
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(False, "[bbox,segm]")
    assert build(True, "[bbox]").count(f"the evaluator looks at bbox only: {key}.tasks=[bbox,segm]") == 1
    for predicted, tasks in ((True, "[bbox,segm]"), (False, "[bbox]"), (True, "null"), (False, "null")):
        assert "masks" not in build(predicted, tasks)


def test_scored_masks_are_missed_before_an_evaluation_starts(scenes: ScenePaths, tmp_path: Path) -> None:
    cfg = load_config(ROOT / "configs" / "demo" / "mask_rcnn_scenes.py", [
        f"data.root={scenes.root}", f"train.output_dir={tmp_path / 'run'}", "train.device=cpu",
        "model.with_masks=false",
    ])  # fmt: skip
    with pytest.raises(ConfigError, match=r"predicts no masks: set evaluator\.tasks=\[bbox\]"):
        evaluate(cfg)
    assert not (tmp_path / "run").exists()
