"""The layer probe of tracking: masks propagated by each layer of an encoder, scored as DAVIS does, without training."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from omegaconf import DictConfig

from pe_dense.config import instantiate
from pe_dense.data import DataError
from pe_dense.data.video_sequences import VideoSequence, VideoSequences
from pe_dense.engine import RunSettings, setup_logging
from pe_dense.engine.run import prepare
from pe_dense.engine.run_directory import OUTPUT_KEY, RunDirectoryError, check_fresh, check_writable, start_run
from pe_dense.engine.trainer import autocast
from pe_dense.evaluation import LayerScores, ObjectScores, is_per_class, vos_metrics
from pe_dense.evaluation.vos import plan_scoring, score_frame
from pe_dense.modeling.backbone.feature_cache import encoder_fingerprint
from pe_dense.modeling.backbone.features import running
from pe_dense.modeling.tracking import TrackerProbe
from pe_dense.prediction.progress import ProgressReport
from pe_dense.prediction.score_files import write_scores
from pe_dense.prediction.track_scores import Scores, TrackScores

logger = logging.getLogger(__name__)

Plan = dict[str, list[int]]
"""Frame -> the objects that are scored in it."""


def probe_tracking(
    cfg: DictConfig, model: TrackerProbe, resume: bool = False, metrics: Sequence[str] | None = None
) -> LayerScores:
    """Follow the objects of videos with each layer, and write ``scores.json``, ``scores.csv`` and ``scores.png``.

    The scores of each sequence stay in ``tracking/`` of the run directory, where ``resume`` finds them.

    Args:
        cfg: with ``videos``, such as :class:`pe_dense.data.DAVIS2017`, and ``train``, :class:`RunSettings`.
        model: see :func:`pe_dense.prediction.probing.build_probe`.
        resume: continue a run in ``train.output_dir``: its sequences are not tracked again, unless their frames or
            masks have changed or layers are missing.
        metrics: what to draw; ``None`` takes J&F, J and F.

    Raises:
        DataError, ValueError: if videos cannot be read, or there is nothing to score; sequences done before are kept.
        RunDirectoryError: if the run directory holds other results.
    """
    cfg, settings, _ = prepare(cfg, ("model", "videos"), RunSettings)
    output = Path(settings.output_dir)
    data: VideoSequences = instantiate(cfg.videos)
    plan = plan_scoring(data)
    videos = [sequence for sequence in data if sequence.name in plan]
    data.require_images(videos)
    saved = TrackScores(output / "tracking", _identity(model, settings.precision))
    _check_directory(output)
    saved.check(resume, settings.overwrite)
    start_run(output, cfg, fresh=False, overwrite=False)
    setup_logging(output)
    saved.begin(resume)
    scores: dict[int, list[ObjectScores]] = {layer: [] for layer in model.layers}
    with ProgressReport() as progress:
        for number, sequence in enumerate(videos, 1):
            title = f"{sequence.name} ({number} of {len(videos)})"
            found = _scores_of(model, sequence, plan[sequence.name], settings.precision, saved, progress, title)
            for layer, objects in scores.items():
                objects += found[layer]
    results = {
        f"layer_{layer:02d}/{key}": value
        for layer, objects in scores.items()
        for key, value in vos_metrics(objects).items()
        if not is_per_class(key)
    }
    table = LayerScores.from_results(results)
    write_scores(table, output, "scores", metrics)
    return table


def score_sequence(
    model: TrackerProbe, sequence: VideoSequence, plan: Plan, precision: str, progress: ProgressReport | None = None
) -> Scores:
    """J and F of each layer in one video. One frame is held at a time, besides those that the trackers look back at.

    Args:
        model: on its device.
        sequence: with images.
        plan: of the sequence, see :func:`pe_dense.evaluation.vos.plan_scoring`.
        precision: of the encoder, "fp32" or "bf16".
        progress: advances with each frame.

    Raises:
        DataError: if a frame or mask cannot be read, or they do not fit together.
    """
    values: dict[int, dict[int, list[np.ndarray]]] = {layer: {} for layer in model.layers}
    frames: dict[int, list[str]] = {}
    model.reset(sequence.name)
    for frame in _tracked_frames(sequence, plan):
        labels = _follow(model, sequence, frame, precision)
        scored = plan.get(frame, [])
        truth = sequence.read_labels(frame) if scored else np.zeros(0, np.uint8)
        for number in scored:
            frames.setdefault(number, []).append(frame)
        for layer, found in labels.items() if scored else ():
            name = f"{sequence.name}, frame {frame}: what layer {layer} finds"
            for number, row in zip(scored, score_frame(truth, found, scored, sequence.objects, name)):
                values[layer].setdefault(number, []).append(row)
        if progress is not None:
            progress.advance()
    return {
        layer: [
            ObjectScores(sequence.name, number, tuple(frames[number]), np.array(rows), sequence.seen.get(number))
            for number, rows in sorted(of_layer.items())
        ]
        for layer, of_layer in values.items()
    }


def spread_frames(data: VideoSequences, count: int) -> Iterator[np.ndarray]:
    """At most so many frames, evenly spread over all videos: H x W x 3 uint8 RGB each.

    Raises:
        DataError: if no video has images, or one cannot be read.
    """
    data.require_images()
    places = [(sequence, frame) for sequence in data for frame in sequence.images]
    count = min(count, len(places))
    for i in range(count):
        sequence, frame = places[i * len(places) // count]
        yield sequence.read_image(frame)


def _scores_of(
    model: TrackerProbe,
    sequence: VideoSequence,
    plan: Plan,
    precision: str,
    saved: TrackScores,
    progress: ProgressReport,
    title: str,
) -> Scores:
    """The scores of a video, from its file if it has them, else computed and saved."""
    key = _key(sequence, plan)
    known = saved.read(sequence.name, key)
    if set(model.layers) <= known.keys():
        logger.info("%s: done before", title)
        return known
    progress.start(title, "frames", len(_tracked_frames(sequence, plan)))
    found = score_sequence(model, sequence, plan, precision, progress)
    saved.write(sequence.name, key, {**known, **found})
    means = {layer: vos_metrics(objects)["vos/J&F"] for layer, objects in found.items()}
    best, last = max(means, key=lambda layer: (means[layer], -layer)), max(means)
    rest = "" if best == last else f", {means[last]:.1f} with the last"
    logger.info("%s: J&F %.1f with layer %d%s", title, means[best], best, rest)
    return found


def _follow(model: TrackerProbe, sequence: VideoSequence, frame: str, precision: str) -> Mapping[int, np.ndarray]:
    """Labels of the next frame by layer, with the masks of objects that begin in it."""
    image, given = sequence.read_image(frame), sequence.read_given(frame)
    try:
        with autocast(model.device, precision), torch.no_grad():
            labels = {} if model.is_empty else model.step(image)
            if given is not None:
                labels = model.add(given) if labels else model.init(image, given)
    except (TypeError, ValueError) as error:
        raise DataError(f"sequence {sequence.name}, frame {frame}: {error}") from error
    return labels


def _tracked_frames(sequence: VideoSequence, plan: Plan) -> list[str]:
    """From the first mask to the last frame that is scored."""
    places = {frame: place for place, frame in enumerate(sequence.frames)}
    start = min(places[first] for first in sequence.objects.values())
    return list(sequence.frames[start : max(places[frame] for frame in plan) + 1])


def _check_directory(output: Path) -> None:
    """Raise unless a probe that trains nothing may write to a run directory."""
    check_writable(output)
    if (output / "checkpoints").is_dir():
        raise RunDirectoryError(
            f"{output} holds a training, and a probe of tracking trains nothing: choose another {OUTPUT_KEY}"
        )
    check_fresh(output, overwrite=False)


def _identity(model: TrackerProbe, precision: str) -> dict[str, Any]:
    """What the scores depend on besides the videos."""
    propagation = asdict(model.propagation)
    del propagation["tile"]
    return {
        "encoder (digest of weights)": encoder_fingerprint(running(model.backbone.backbone)),
        "final norm": model.backbone.norm,
        "pixel_mean": model.pixel_mean,
        "pixel_std": model.pixel_std,
        "precision": precision,
        "propagation": propagation,
    }


def _key(sequence: VideoSequence, plan: Plan) -> str:
    """Stands for the frames and masks of a video and what of it is scored."""
    sizes = [Path(sequence.images[frame]).stat().st_size for frame in sequence.frames if frame in sequence.images]
    digest = hashlib.sha256(orjson.dumps([sequence.frames, sizes, plan, list(sequence.objects.items())]))
    for path in sequence.annotations.values():
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]
