"""``train`` and ``evaluate``: from a config to a run."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from pe_dense.config import freeze_constants, from_yaml, instantiate
from pe_dense.engine import checkpoint as ckpt
from pe_dense.engine import distributed as dist
from pe_dense.engine.build import build_evaluation, build_trainer, without_pretrained
from pe_dense.engine.hooks import Hook
from pe_dense.engine.resume import check_num_classes, find_resume_point
from pe_dense.engine.rng import seed_all
from pe_dense.engine.run_directory import OUTPUT_KEY, check_fresh, check_writable, start_run, writing_to
from pe_dense.engine.run_log import RunWriter, setup_logging
from pe_dense.engine.settings import TrainSettings
from pe_dense.engine.trainer import Trainer
from pe_dense.evaluation import format_results
from pe_dense.structures import Categories

logger = logging.getLogger(__name__)


def train(cfg: DictConfig, resume: bool = False, hooks: Sequence[Hook] = ()) -> dict[str, float]:
    """Train as the config says, in the process group if there is one.

    Args:
        cfg: ``model``, ``dataloader.train``, ``optimizer``, ``lr_schedule``, ``train``; with ``dataloader.test`` and
            ``evaluator`` the model is evaluated during and after training; ``hooks`` may list hooks of one's own.
        resume: continue the run in ``train.output_dir`` exactly where its newest checkpoint is; without a checkpoint
            start anew.
        hooks: more hooks, after those of the config; a resumed run may have others.

    Returns:
        Results of the last evaluation, empty without an evaluator. Nothing is written before all parts are built.

    Raises:
        ValueError: if config, data, checkpoint and run directory do not fit together.
        NonFiniteLossError: if the loss is NaN or infinite.
        RunInterrupted: (a ``SystemExit``) after Ctrl-C, SIGTERM or SIGUSR2, with a checkpoint saved.
    """
    cfg, settings, device = _prepare(cfg)
    output_dir = Path(settings.output_dir)
    check_writable(output_dir)
    point = find_resume_point(output_dir, cfg) if resume else None
    overwrite = settings.overwrite and not resume
    if point is None:
        check_fresh(output_dir, overwrite)
    trainer = build_trainer(cfg, settings, device, point, hooks)
    dist.barrier()  # nobody writes before everybody is ready
    if dist.is_main():
        start_run(output_dir, cfg, fresh=point is None, overwrite=overwrite)
        with writing_to(output_dir):
            setup_logging(output_dir)
            trainer.writer = RunWriter(output_dir, trainer.step if point is not None else None)
    _announce(trainer)
    try:
        trainer.run()
    finally:
        if trainer.writer is not None:
            trainer.writer.close()
    return trainer.results


def evaluate(
    cfg: DictConfig, checkpoint: str | Path | None = None, output: str | Path | None = None
) -> dict[str, float]:
    """Evaluate a checkpoint with the config's test data and evaluator.

    Args:
        cfg: ``model``, ``dataloader.test``, ``evaluator`` and ``train`` (device, precision, output_dir).
        checkpoint: which one; None takes ``best.safetensors``, else the newest, of ``train.output_dir``, else
            ``train.init_from``, else the model as the config builds it.
        output: folder for the evaluator's files; None = ``inference/`` in ``train.output_dir``.

    Returns:
        The evaluator's results; ``evaluation.json`` beside its files tells what was evaluated.

    Raises:
        FileNotFoundError: if the checkpoint does not exist.
        ValueError: if it does not fit the model, the categories differ from the data set's, or the folder holds the
            results of another evaluation (other test data, evaluator or model).
    """
    cfg, settings, device = _prepare(cfg)
    folder = Path(output) if output is not None else Path(settings.output_dir) / "inference"
    key, log_folder = ("--output", folder) if output is not None else (OUTPUT_KEY, folder.parent)
    check_writable(folder, key)
    evaluation = build_evaluation(cfg, folder)
    path = Path(checkpoint) if checkpoint is not None else _default_checkpoint(settings)
    model, step = _evaluated_model(cfg, settings, path, evaluation.categories)
    evaluation.check_folder("--output")
    model.to(device)
    dist.barrier()  # nobody writes before everybody is ready
    if dist.is_main():
        with writing_to(log_folder, key):
            setup_logging(log_folder)
            folder.mkdir(parents=True, exist_ok=True)
    results = evaluation.run(model, device, settings.precision, step, path)
    assert results is not None
    logger.info("results (files in %s):\n%s", folder, format_results(results))
    return results


def config_of_checkpoint(saved: ckpt.Checkpoint) -> DictConfig:
    """The config a checkpoint was trained with."""
    return from_yaml(saved.config, origin=f"config in {saved.path}")


def _prepare(cfg: DictConfig) -> tuple[DictConfig, TrainSettings, torch.device]:
    """A frozen copy of the config, its settings, and this process as they want it: device, threads and seed."""
    setup_logging(main=dist.is_main())
    cfg = freeze_constants(copy.deepcopy(cfg))
    settings: TrainSettings = instantiate(cfg.train)
    device = settings.torch_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
    seed_all(settings.seed)
    return cfg, settings, device


def _announce(trainer: Trainer) -> None:
    """One line about the run that starts."""
    parameters = list(trainer.model.parameters())
    total, trained = (sum(p.numel() for p in some) / 1e6 for some in (parameters, trainer.parameters))
    group = f" in {dist.world_size()} processes" if dist.world_size() > 1 else ""
    logger.info(
        "training %d steps (%.4g epochs) of %d images on %s%s: %d images, %.4g M parameters, %.4g M of them trained, "
        "run directory %s",
        trainer.total_steps, trainer.total_steps / trainer.loader.steps_per_epoch, trainer.loader.batch_size,
        trainer.device, group, len(trainer.loader.dataset), total, trained, trainer.settings.output_dir,
    )  # fmt: skip


def _default_checkpoint(settings: TrainSettings) -> Path | None:
    found = ckpt.best_checkpoint(Path(settings.output_dir) / "checkpoints")
    return found if found is not None or settings.init_from is None else Path(settings.init_from)


def _evaluated_model(
    cfg: DictConfig, settings: TrainSettings, path: Path | None, categories: Categories | None
) -> tuple[nn.Module, int | None]:
    """The model with a checkpoint's weights, and their step."""
    if path is None:
        logger.warning("no checkpoint in %s: evaluating the model as the config builds it", settings.output_dir)
        model: nn.Module = instantiate(cfg.model)
        check_num_classes(cfg, model, categories)
        return model, None
    saved = ckpt.load_checkpoint(path)
    ckpt.check_categories(saved.categories, categories, str(path), "dataloader.test")
    model = instantiate(without_pretrained(cfg).model)
    ckpt.load_weights(model, saved)
    logger.info("evaluating %s (step %d)", saved.path, saved.step)
    return model, saved.step
