"""Trackers from configs and checkpoints."""

from pathlib import Path

import pytest
import torch

from pe_dense.config import LazyCall as L
from pe_dense.config import instantiate, load_config, save_config, to_yaml
from pe_dense.engine.checkpoint import Checkpoint, CheckpointError, save_checkpoint
from pe_dense.modeling.backbone import EncoderFeatures, PerceptionEncoder
from pe_dense.modeling.backbone.feature_cache import weights_digest
from pe_dense.modeling.tracking import (
    ColorFeatures,
    LabelPropagation,
    LearnedTracker,
    ProjectedFeatures,
    PropagationLoss,
    TokenProjection,
    VideoObjectTracker,
)
from pe_dense.prediction import TrackerSource

CPU = torch.device("cpu")
TOWER = {"embed_dim": 24, "depth": 2, "num_heads": 2, "mlp_dim": 48, "patch_size": 4, "grid_size": 8}


def learned(**tower: int) -> dict[str, object]:
    sizes = TOWER | tower
    return {
        "model": L(LearnedTracker)(
            backbone=L(ProjectedFeatures)(
                backbone=L(PerceptionEncoder)(**sizes),
                projection=L(TokenProjection)(dim=sizes["embed_dim"], hidden_dim=16),
            ),
            propagation=L(LabelPropagation)(short_side=32, long_multiple=0),
            loss=L(PropagationLoss)(),
        )
    }


def save(path: Path, config: dict[str, object]) -> Checkpoint:
    """A checkpoint of a model with weights that no seed gives."""
    torch.manual_seed(99)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_config(config, path.with_suffix(".yaml"))
    cfg = load_config(path.with_suffix(".yaml"))
    model = instantiate(cfg.model)
    weights = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    checkpoint = Checkpoint(path, weights, 3, to_yaml(cfg), None, {})
    save_checkpoint(checkpoint)
    return checkpoint


def test_all_of_a_run(tmp_path: Path) -> None:
    saved = save(tmp_path / "run/checkpoints/best.safetensors", learned())
    source = TrackerSource.find(checkpoint=tmp_path / "run", overrides=["model.propagation.topk=3"])
    tracker = source.build(CPU)
    assert isinstance(tracker, LearnedTracker)
    assert tracker.propagation.topk == 3
    assert not tracker.training
    for name, value in tracker.state_dict().items():
        assert torch.equal(value, saved.weights[name])
    assert weights_digest(source.build(CPU)) == weights_digest(tracker)
    again = TrackerSource.find(tmp_path / "run/checkpoints/best.yaml", checkpoint=tmp_path / "run")
    assert weights_digest(again.build(CPU)) == weights_digest(tracker)


def test_the_encoder_of_another_model(tmp_path: Path) -> None:
    """Its shape, weights and normalisation come along; the projection stays as the config builds it."""
    config = learned(embed_dim=24, depth=1)
    config["model"]["pixel_mean"] = [1.0, 2.0, 3.0]
    saved = save(tmp_path / "other.safetensors", config)
    save_config(learned(), tmp_path / "own.yaml")
    source = TrackerSource.find(tmp_path / "own.yaml", encoder_from=tmp_path / "other.safetensors")
    tracker = source.build(CPU)
    assert tracker.pixel_mean == (1, 2, 3)
    assert not tracker.backbone.projection.out.weight.any()
    own = tracker.state_dict()
    encoder = [name for name in own if name.startswith("backbone.backbone.")]
    assert len(encoder) > 10
    assert all(torch.equal(own[name], saved.weights[name]) for name in encoder)


def test_seeds(tmp_path: Path) -> None:
    save_config(learned(), tmp_path / "own.yaml")
    digests = [weights_digest(TrackerSource.find(tmp_path / "own.yaml", seed=s).build(CPU)) for s in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_random_weights_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "run/checkpoints/best.safetensors", learned())
    save_config(learned(), tmp_path / "own.yaml")
    TrackerSource.find(checkpoint=tmp_path / "run").build(CPU)
    TrackerSource.find(tmp_path / "own.yaml", encoder_from=tmp_path / "run").build(CPU)
    colors = {"model": L(VideoObjectTracker)(backbone=L(ColorFeatures)(), propagation=L(LabelPropagation)())}
    save_config(colors, tmp_path / "colors.yaml")
    TrackerSource.find(tmp_path / "colors.yaml").build(CPU)  # has none
    assert "random" not in caplog.text
    TrackerSource.find(tmp_path / "own.yaml").build(CPU)
    assert caplog.text.count("the encoder's weights are random") == 1


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give a config file, a checkpoint, or both"):
        TrackerSource.find()
    with pytest.raises(ValueError, match="either a checkpoint or encoder_from"):
        TrackerSource.find(checkpoint="a", encoder_from="b")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        TrackerSource.find(checkpoint=tmp_path / "nowhere")
    save_config({"model": L(EncoderFeatures)(backbone=L(PerceptionEncoder)(**TOWER))}, tmp_path / "features.yaml")
    with pytest.raises(ValueError, match="is a EncoderFeatures and does not follow objects: use a recipe of"):
        TrackerSource.find(tmp_path / "features.yaml").build(CPU)
    save(tmp_path / "deep.safetensors", learned(depth=3))
    save_config(learned(), tmp_path / "own.yaml")
    with pytest.raises(CheckpointError, match=r"deep\.safetensors do not fit the model"):
        TrackerSource.find(tmp_path / "own.yaml", checkpoint=tmp_path / "deep.safetensors").build(CPU)
    save(tmp_path / "features.safetensors", {"model": L(EncoderFeatures)(backbone=L(PerceptionEncoder)(**TOWER))})
    with pytest.raises(ValueError, match="its model has no encoder to track with"):
        TrackerSource.find(tmp_path / "own.yaml", encoder_from=tmp_path / "features.safetensors")
