"""The layer probe: the same head, or tracker, on every layer of an encoder, to show which layer is best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pe_dense.config import LazyCall, instantiate
from pe_dense.engine import RunSettings
from pe_dense.engine.build import initial_model, without_pretrained
from pe_dense.engine.checkpoint import BEST, latest_checkpoint, load_checkpoint, load_weights
from pe_dense.engine.run import prepare, train
from pe_dense.evaluation import LayerScores
from pe_dense.modeling.backbone import FeatureCache, LayerProbe
from pe_dense.modeling.backbone.features import running
from pe_dense.modeling.backbone.layer_statistics import layer_statistics
from pe_dense.modeling.classification import ImageClassifier
from pe_dense.modeling.tracking import TrackerProbe
from pe_dense.prediction.encoder_source import ENCODER, TrainedEncoder
from pe_dense.prediction.layer_vectors import LayerVectors
from pe_dense.prediction.score_files import write_scores
from pe_dense.prediction.track_probing import probe_tracking, spread_frames

_COPIES = "probes."
_TRAINED_PARTS = ("train", "knn", "statistics")
_TRACKED_PARTS = ("track", "statistics")

DRAWN_STATISTICS = (
    "norm/median", "norm/max", "tokens/outliers", "tokens/global", "rank/effective", "attention/distance_px",
)  # fmt: skip


def run_probe(
    cfg: DictConfig,
    parts: Sequence[str] | None = None,
    resume: bool = False,
    metrics: Sequence[str] | None = None,
    images: int = 64,
) -> list[LayerScores]:
    """All that a config's probe can tell.

    See :func:`probe_layers`, :func:`probe_knn`, :func:`probe_tracking` and :func:`describe_layers`.

    Args:
        cfg: of a :class:`LayerProbe`, or, with ``videos``, of a :class:`TrackerProbe`.
        parts: some of "train", "knn" and "statistics", of a :class:`TrackerProbe` "track" and "statistics"; ``None``:
            all, but "knn" only if the config has ``knn``.
        resume, metrics: see :func:`probe_layers` and :func:`probe_tracking`.
        images: see :func:`describe_layers`.

    Raises:
        ValueError: if a part is asked for that the config has not, and see the functions.
    """
    tracks = cfg.get("videos") is not None
    possible = _TRACKED_PARTS if tracks else _TRAINED_PARTS
    if parts is None:
        parts = [part for part in possible if part != "knn" or cfg.get("knn") is not None]
    if wrong := [part for part in parts if part not in possible]:
        raise ValueError(
            f"there is no {wrong[0]} in this probe, which {'tracks' if tracks else 'trains'}: choose from "
            f"{', '.join(possible)}, or take another recipe"
        )
    if tracks:
        tracker = build_probe(cfg)
        assert isinstance(tracker, TrackerProbe)
        found = [probe_tracking(cfg, tracker, resume, metrics)] if "track" in parts else []
        return found + ([describe_layers(cfg, tracker, images)] if "statistics" in parts else [])
    if "knn" in parts and cfg.get("knn") is None:
        raise ValueError("the config has no knn: use a recipe of classification, or add knn = L(KnnClassifier)()")
    found = [probe_layers(cfg, resume, metrics)] if "train" in parts else []
    rest = [part for part in ("knn", "statistics") if part in parts]
    if rest:
        model = build_probe(cfg)
        assert isinstance(model, LayerProbe)
        found += [probe_knn(cfg, model) if part == "knn" else describe_layers(cfg, model, images) for part in rest]
    return found


def probe_layers(cfg: DictConfig, resume: bool = False, metrics: Sequence[str] | None = None) -> LayerScores:
    """Train the probe of a config, and write ``scores.json``, ``scores.csv`` and ``scores.png`` to its run directory.

    Args:
        cfg: a run whose model is a :class:`LayerProbe` and whose evaluator is a :class:`LayerEvaluator`.
        resume: see :func:`pe_dense.engine.train`.
        metrics: what to draw, such as "depth/rmse"; ``None`` takes the usual one of the task.

    Raises:
        ValueError: see :func:`pe_dense.engine.train`; for a metric that the evaluator does not give.
    """
    scores = LayerScores.from_results(train(cfg, resume=resume))
    write_scores(scores, Path(cfg.train.output_dir), "scores", metrics)
    return scores


def probe_knn(cfg: DictConfig, model: LayerProbe) -> LayerScores:
    """Classify the test images by their nearest neighbours among the training images, with each layer; write ``knn.*``.

    Both go through the transforms of the test images. The vectors stay in ``knn/`` of the run directory, where a run
    that was killed finds those it had.

    Args:
        cfg: with ``knn``, a :class:`KnnClassifier`.
        model: of an :class:`ImageClassifier`, whose pooling is taken; see :func:`build_probe`.

    Raises:
        ValueError: for a model of another task, or if the vectors cannot be written.
    """
    output = Path(cfg.train.output_dir)
    classifier = next(iter(model.probes.values()))
    if not isinstance(classifier, ImageClassifier):
        raise ValueError(f"nearest neighbours need an ImageClassifier, the probe has a {type(classifier).__name__}")
    knn, pooling, precision = instantiate(cfg.knn), classifier.pooling, instantiate(cfg.train).precision
    settings = str(OmegaConf.to_container(cfg.dataloader.test.transforms, resolve=True))
    loader = lambda part: instantiate(cfg.dataloader.test, dataset=part)
    sets = {"train": instantiate(cfg.dataloader.train.dataset), "test": instantiate(cfg.dataloader.test.dataset)}
    vectors = {}
    for name, dataset in sets.items():
        vectors[name] = LayerVectors(output / "knn", name, model, pooling, precision, settings)
        vectors[name].compute(dataset, loader)
    labels, samples = vectors["train"].labels().to(model.device), [{"image_id": i} for i in vectors["test"].image_ids()]
    results: dict[str, float] = {}
    for layer in model.layers:
        bank, queries = (vectors[name].layer(layer).to(model.device) for name in ("train", "test"))
        votes = knn(queries, bank, labels, classifier.num_classes)
        evaluator = instantiate(cfg.evaluator.evaluator)
        evaluator.process(samples, [{"classes": row} for row in votes])
        results |= {f"layer_{layer:02d}/knn/{k.rpartition('/')[2]}": v for k, v in evaluator.evaluate().items()}
    scores = LayerScores.from_results(results)
    write_scores(scores, output, "knn")
    return scores


def describe_layers(cfg: DictConfig, model: LayerProbe | TrackerProbe, images: int = 64) -> LayerScores:
    """Statistics of the features of test images, see :func:`layer_statistics`; write ``statistics.*``.

    Args:
        cfg: with ``dataloader.test``, or ``videos``.
        model: see :func:`build_probe`.
        images: how many: the first ones, or frames evenly spread over all videos.

    Raises:
        ValueError: if the number is not positive.
    """
    if images < 1:
        raise ValueError(f"statistics of {images} images are asked for: give at least 1")
    neck: Any = model.backbone
    pictures = _pictures(cfg, model, images)
    scores = LayerScores(layer_statistics(running(neck.backbone), pictures, model.layers, neck.norm), ranked=False)
    write_scores(scores, Path(cfg.train.output_dir), "statistics", DRAWN_STATISTICS)
    return scores


def _pictures(cfg: DictConfig, model: LayerProbe | TrackerProbe, count: int) -> Iterator[Tensor]:
    """So many test images as the encoder sees them, 1 x 3 x H x W."""
    if isinstance(model, TrackerProbe):
        return (model.preprocess(frame) for frame in spread_frames(instantiate(cfg.videos), count))
    samples = islice((s for batch in instantiate(cfg.dataloader.test) for s in batch), count)
    return (model.preprocess([sample]).tensor for sample in samples)


def with_cache(cfg: DictConfig, limit_gb: float) -> DictConfig:
    """Let a probe keep the features of the training images on disk, in ``features/`` of its run directory.

    The training images go through the transforms of the test images: augmented ones would be others in each epoch.

    Raises:
        ValueError: for a probe that trains nothing.
    """
    if cfg.get("videos") is not None:
        raise ValueError("a probe of tracking sees each frame once, so there is nothing to cache: leave --cache-gb out")
    folder = str(Path(cfg.train.output_dir) / "features")
    cfg.model.cache = LazyCall(FeatureCache)(folder=folder, limit_gb=limit_gb)
    cfg.dataloader.train.transforms = OmegaConf.to_container(cfg.dataloader.test.transforms)
    return cfg


def with_encoder_of(cfg: DictConfig, run: str | Path) -> DictConfig:
    """Let a probe look into the encoder of a trained model, with that model's normalisation of the pixels.

    Args:
        cfg: of a :class:`LayerProbe` or a :class:`TrackerProbe`.
        run: a checkpoint, or the folder of a run.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if its model has no encoder in the places where models have theirs.
    """
    found = TrainedEncoder.find(run, "to probe")
    found.put_into(cfg.model.model)
    cfg.model.model.backbone.layers = [-1]
    saved = found.checkpoint
    parts = {".".join(name.split(".")[: 2 if name.startswith("backbone.") else 1]) + "." for name in saved.weights}
    cfg.train.init_from = str(saved.path)
    copies = {_COPIES} if cfg.get("videos") is None else parts & {_COPIES}  # a tracker has no weights of its own
    cfg.train.init_skip = [*copies, *sorted(parts - {ENCODER, _COPIES})]
    return cfg


def build_probe(cfg: DictConfig) -> LayerProbe | TrackerProbe:
    """The probe with the encoder's weights: of its run directory if it has been trained, else as the run would start.

    Raises:
        ValueError: if the config's model is no :class:`LayerProbe`, nor with ``videos`` a :class:`TrackerProbe`.
    """
    kind = LayerProbe if cfg.get("videos") is None else TrackerProbe
    cfg, settings, device = prepare(cfg, ("model",), RunSettings)
    checkpoints = Path(settings.output_dir) / "checkpoints"
    if kind is LayerProbe and (latest_checkpoint(checkpoints) is not None or (checkpoints / BEST).is_file()):
        model = instantiate(without_pretrained(cfg).model)
        load_weights(model, load_checkpoint(settings.output_dir))
    else:
        model = initial_model(cfg, settings)
    if not isinstance(model, kind):
        raise ValueError(
            f"the config's model is a {type(model).__name__}, not a {kind.__name__}: use one of configs/probe"
        )
    return model.to(device).eval()
