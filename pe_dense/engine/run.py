"""``train`` and ``evaluate``: from a config to a run."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from pe_dense.config import ConfigError, freeze_constants, from_yaml, instantiate
from pe_dense.config.errors import raise_all
from pe_dense.config.lazy import is_call
from pe_dense.engine import checkpoint as ckpt
from pe_dense.engine import distributed as dist
from pe_dense.engine.build import build_evaluation, build_trainer, without_pretrained
from pe_dense.engine.hooks import Hook
from pe_dense.engine.inference import Evaluation
from pe_dense.engine.resume import check_num_classes, find_resume_point
from pe_dense.engine.rng import seed_all
from pe_dense.engine.run_directory import (
    OUTPUT_KEY,
    bring_back_replaced,
    check_fresh,
    check_not_in_use,
    check_writable,
    discard_replaced,
    start_run,
    writing_to,
)
from pe_dense.engine.run_log import RunWriter, setup_logging
from pe_dense.engine.settings import RunSettings, TrainSettings
from pe_dense.engine.trainer import Trainer
from pe_dense.evaluation import format_results
from pe_dense.structures import Categories
from pe_dense.structures.wording import counted

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=RunSettings)

_TRAINED = ("model", "dataloader.train", "optimizer", "lr_schedule")
_EVALUATED = ("dataloader.test", "evaluator")


def train(cfg: DictConfig, resume: bool = False, hooks: Sequence[Hook] = ()) -> dict[str, float]:
    """Train as the config says, in the process group if there is one.

    Args:
        cfg: ``model``, ``dataloader.train``, ``optimizer``, ``lr_schedule``, ``train``; with ``dataloader.test`` and
            ``evaluator`` the model is evaluated during and after training; ``hooks`` may list hooks of one's own.
        resume: continue the run in ``train.output_dir`` exactly where its newest checkpoint is; without a checkpoint
            start anew. Of a finished run the results are returned.
        hooks: more hooks, after those of the config; a resumed run may have others.

    Returns:
        Results of the last evaluation, empty without an evaluator. Nothing is written before all parts are built.

    Raises:
        ValueError: if config, data, checkpoint and run directory do not fit together.
        NonFiniteLossError: if the loss is NaN or infinite.
        RunInterrupted: (a ``SystemExit``) after Ctrl-C, SIGTERM or SIGUSR2, with a checkpoint saved.
    """
    cfg, settings, device = prepare(cfg, _TRAINED, TrainSettings)
    output_dir = Path(settings.output_dir)
    check_writable(output_dir)
    if dist.is_main():
        check_not_in_use(output_dir)
        bring_back_replaced(output_dir)
    dist.barrier()  # nobody looks for checkpoints before they are in their place
    point = find_resume_point(output_dir, cfg) if resume else None
    overwrite = settings.overwrite and not resume
    if point is None:
        check_fresh(output_dir, overwrite)
    trainer = build_trainer(cfg, settings, device, point, hooks)
    dist.barrier()  # nobody writes before everybody is ready
    try:
        if dist.is_main():
            start_run(output_dir, cfg, fresh=point is None, overwrite=overwrite)
            with writing_to(output_dir):
                setup_logging(output_dir)
                trainer.writer = RunWriter(output_dir, trainer.step if point is not None else None)
            if overwrite:
                trainer.hooks.insert(0, _DiscardReplaced(output_dir))
        finished = trainer.step >= trainer.total_steps
        _announce(trainer, finished)
        trainer.run()
    finally:
        if trainer.writer is not None:
            trainer.writer.close()
        if dist.is_main():
            bring_back_replaced(output_dir)
    if finished and trainer.results:
        logger.info("results of the last evaluation:\n%s", format_results(trainer.results))
    return trainer.results


class _DiscardReplaced(Hook):
    """An earlier run that this one overwrites goes when this one has taken a step. In the main process only."""

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir

    def after_step(self, trainer: Trainer) -> None:
        discard_replaced(self.output_dir)


def evaluate(
    cfg: DictConfig,
    checkpoint: str | Path | None = None,
    output: str | Path | None = None,
    model: nn.Module | None = None,
    categories: Categories | None = None,
) -> dict[str, float]:
    """Evaluate a checkpoint with the config's test data and evaluator.

    Args:
        cfg: ``model``, ``dataloader.test``, ``evaluator`` and ``train`` (device, precision, output_dir).
        checkpoint: which one; None takes ``best.safetensors``, else the newest, of ``train.output_dir``, else
            ``train.init_from``, else the model as the config builds it.
        output: folder for the evaluator's files; None = ``inference/`` in ``train.output_dir``.
        model: evaluated instead of the config's, whose build it is, with the weights that it has; ``checkpoint`` only
            tells where they come from.
        categories: of that model, if it has any.

    Returns:
        The evaluator's results; ``evaluation.json`` beside its files tells what was evaluated.

    Raises:
        FileNotFoundError: if the checkpoint does not exist.
        ValueError: if it does not fit the model, the categories differ from the data set's, or the folder holds the
            results of another evaluation (other test data, evaluator or model).
    """
    cfg, settings, device = prepare(cfg, ("model", *_EVALUATED), TrainSettings)
    folder = Path(output) if output is not None else Path(settings.output_dir) / "inference"
    key, log_folder = ("--output", folder) if output is not None else (OUTPUT_KEY, folder.parent)
    check_writable(folder, key)
    evaluation = build_evaluation(cfg, folder)
    path = Path(checkpoint) if checkpoint is not None else None if model is not None else _default_checkpoint(settings)
    if model is None:
        model, step = _evaluated_model(cfg, settings, path, evaluation)
    else:
        step, saved = None, None if categories is None else categories.to_json()
        ckpt.check_categories(saved, evaluation.categories, str(path or "the model"), "dataloader.test")
        check_num_classes(cfg, model, evaluation.categories, evaluation.pixel_classes)
    evaluation.check_masks(model)
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


def prepare(cfg: DictConfig, parts: Sequence[str], kind: type[Settings]) -> tuple[DictConfig, Settings, torch.device]:
    """A frozen copy of the config, its settings, and this process as they want it: device, threads and seed.

    Args:
        cfg: of the run.
        parts: keys of what it must have.
        kind: of its ``train``.

    Raises:
        ConfigError: if parts are missing, or ``train`` is of another kind.
    """
    setup_logging(main=dist.is_main())
    cfg = freeze_constants(copy.deepcopy(cfg))
    _check_parts(cfg, parts)
    settings = instantiate(cfg.train)
    if not isinstance(settings, kind):
        raise ConfigError(
            f"train builds {type(settings).__name__}: write it as L(pe_dense.engine.{kind.__name__})(...)"
        )
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


def _check_parts(cfg: DictConfig, parts: Sequence[str]) -> None:
    """Is all there that a run builds, as calls?

    Raises:
        ConfigError: naming the keys that are missing or something else.
    """
    wanted = dict.fromkeys((*parts, *(() if cfg.get("evaluator") is None else _EVALUATED), "train"))
    evaluator = cfg.get("evaluator")
    several = isinstance(evaluator, DictConfig) and not is_call(evaluator) and any(map(is_call, evaluator.values()))
    if several:  # by name
        wanted.pop("evaluator", None)
        wanted.update(dict.fromkeys(f"evaluator.{name!s}" for name in evaluator))
    raise_all([
        f"{key} is {'missing' if found is None else 'not a call'}: write it as one, {key.split('.')[-1]}=L(...)(...)"
        for key, found in {key: OmegaConf.select(cfg, key) for key in wanted}.items()
        if not is_call(found)
    ])  # fmt: skip


def _announce(trainer: Trainer, finished: bool) -> None:
    """One line about the run that starts, or that was finished before."""
    settings, total = trainer.settings, trainer.total_steps
    if finished:
        logger.info(
            "the run in %s is finished, all of its %s are done: nothing is left to train; to train longer, start "
            "another one from its weights with train.init_from=%s and another train.output_dir",
            settings.output_dir, counted(total, "step"), settings.output_dir,
        )  # fmt: skip
        return
    parameters = list(trainer.model.parameters())
    size, trained = (sum(p.numel() for p in some) / 1e6 for some in (parameters, trainer.parameters))
    epochs = f"{total / trainer.loader.steps_per_epoch:.4g} epochs"
    group = f" in {counted(dist.world_size(), 'process')}" if dist.world_size() > 1 else ""
    logger.info(
        "training %s (%s) of %s on %s%s: %s, %.4g M parameters, %.4g M of them trained, run directory %s",
        counted(total, "step"), "1 epoch" if epochs == "1 epochs" else epochs,
        counted(trainer.loader.batch_size, "image"), trainer.device, group,
        counted(len(trainer.loader.dataset), "image"), size, trained, settings.output_dir,
    )  # fmt: skip


def _default_checkpoint(settings: TrainSettings) -> Path | None:
    found = ckpt.best_checkpoint(Path(settings.output_dir) / "checkpoints")
    return found if found is not None or settings.init_from is None else Path(settings.init_from)


def _evaluated_model(
    cfg: DictConfig, settings: TrainSettings, path: Path | None, evaluation: Evaluation
) -> tuple[nn.Module, int | None]:
    """The model with a checkpoint's weights, and their step."""
    if path is None:
        what = "with random weights" if without_pretrained(cfg) == cfg else "as the config builds it"
        logger.warning("no checkpoint in %s: evaluating the model %s", settings.output_dir, what)
        model: nn.Module = instantiate(cfg.model)
        check_num_classes(cfg, model, evaluation.categories, evaluation.pixel_classes)
        return model, None
    saved = ckpt.load_checkpoint(path)
    ckpt.check_categories(saved.categories, evaluation.categories, str(path), "dataloader.test")
    ckpt.check_pixel_classes(saved.pixel_classes, evaluation.pixel_classes, str(path), "dataloader.test")
    model = instantiate(without_pretrained(cfg).model)
    ckpt.load_weights(model, saved)
    logger.info("evaluating %s (step %d)", saved.path, saved.step)
    return model, saved.step
