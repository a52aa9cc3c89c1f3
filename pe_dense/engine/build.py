"""The parts of a run, built from its config. Nothing is written here."""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

import pe_dense
from pe_dense.config import instantiate, to_yaml
from pe_dense.config.lazy import is_call
from pe_dense.engine import checkpoint as ckpt
from pe_dense.engine import distributed as dist
from pe_dense.engine.config_diff import flat_config
from pe_dense.engine.ema import Ema
from pe_dense.engine.fine_tuning import start_from
from pe_dense.engine.hooks import CheckpointHook, EmaHook, EvalHook, Hook, LogHook
from pe_dense.engine.inference import Evaluation
from pe_dense.engine.parallel import shard, shard_units
from pe_dense.engine.resume import (
    ResumePoint,
    check_labels,
    check_num_classes,
    check_same_data,
    data_fingerprint,
    restore,
)
from pe_dense.engine.rng import seed_all
from pe_dense.engine.settings import RunSettings, TrainSettings
from pe_dense.engine.trainer import Trainer
from pe_dense.evaluation import Evaluator, MultiEvaluator

logger = logging.getLogger(__name__)


def build_trainer(
    cfg: DictConfig,
    settings: TrainSettings,
    device: torch.device,
    point: ResumePoint | None = None,
    hooks: Sequence[Hook] = (),
) -> Trainer:
    """All parts of the run, in the state of the checkpoint if there is one. Its ``writer`` is not set yet.

    Raises:
        ValueError: if config, data and checkpoint do not fit together.
    """
    loader = instantiate(cfg.dataloader.train)
    data = dist.broadcast_object(data_fingerprint(loader.dataset) if dist.is_main() else {})
    if point is not None:
        check_same_data(point.saved["data"], data, point.path)
    model = build_model(cfg, settings, device, point is not None)
    if point is None and settings.init_from is None:
        _warn_if_frozen_at_random(cfg, model)
    check_labels(model, loader.dataset)
    check_num_classes(cfg, model, getattr(loader.dataset, "categories", None), getattr(loader.dataset, "classes", None))
    ema = Ema(model, settings.ema_decay) if settings.ema_decay is not None else None
    per_epoch = loader.steps_per_epoch
    multiplier = instantiate(cfg.lr_schedule)(settings.total_steps(per_epoch), per_epoch)
    optimizer = instantiate(cfg.optimizer)(model)
    trainer = Trainer(settings, model, optimizer, multiplier, loader, device, ema, facts=_facts(cfg, data))
    trainer.hooks = [*_own_hooks(cfg, hooks), *_run_hooks(cfg, trainer)]
    if point is not None:
        restore(trainer, point)
    else:
        seed_all(settings.seed + dist.rank())  # separates the dropout of the processes
    return trainer


def build_model(cfg: DictConfig, settings: TrainSettings, device: torch.device, resumed: bool) -> nn.Module:
    """The model on its device, sharded if the settings say so, with the weights that a run starts from.

    Args:
        cfg: of the run.
        settings: its ``train``.
        device: of this process.
        resumed: a checkpoint will replace the weights, so none are read.
    """
    if settings.parallel == "ddp" or dist.world_size() == 1:  # a single process has nothing to share
        model = initial_model(cfg, settings, resumed).to(device)
        if settings.compile:
            getattr(model, "backbone", model).compile()
        return model
    full = initial_model(cfg, settings, resumed) if dist.is_main() and not resumed else None
    structure = without_pretrained(cfg).model
    bf16 = settings.precision == "bf16"
    return shard(full, lambda: instantiate(structure), device, bf16, settings.reshard, settings.compile)


def initial_model(cfg: DictConfig, settings: RunSettings, resumed: bool = False) -> nn.Module:
    """All of the model, on the CPU; see :func:`build_model`."""
    model: nn.Module
    if resumed:
        model = instantiate(without_pretrained(cfg).model)
    elif settings.init_from is not None:
        try:
            source = ckpt.load_checkpoint(settings.init_from)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"train.init_from: {error}; give a run's folder, or a checkpoint in it") from error
        model = instantiate(without_pretrained(cfg).model)
        start_from(model, source, settings.init_skip)
    else:
        model = instantiate(cfg.model)
    return model


def build_evaluation(cfg: DictConfig, folder: Path) -> Evaluation:
    """Test loader and evaluator, or evaluators; results go to ``folder``.

    Raises:
        ValueError: if an evaluator has the name of no part of the test data.
    """
    loader = instantiate(cfg.dataloader.test)
    evaluator: Evaluator
    if is_call(cfg.evaluator):
        evaluator = instantiate(cfg.evaluator, output_dir=str(folder))
    else:
        several = {name: instantiate(node, output_dir=str(folder)) for name, node in cfg.evaluator.items()}
        evaluator = MultiEvaluator(several)
        parts = getattr(getattr(loader, "dataset", None), "parts", None)
        if parts is not None:
            evaluator.check_names(parts)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    config = {
        "model": plain["model"],
        "dataloader": {"test": plain["dataloader"]["test"]},
        "evaluator": plain["evaluator"],
    }
    return Evaluation(loader, evaluator, folder, config)


def without_pretrained(cfg: DictConfig) -> DictConfig:
    """A copy whose model parts load no ``weights`` of their own, because a checkpoint replaces them anyway."""
    cfg = copy.deepcopy(cfg)
    for key in _pretrained(cfg):
        OmegaConf.update(cfg.model, key, None)
    return cfg


def _pretrained(cfg: DictConfig) -> list[str]:
    """Keys of the model, from ``cfg.model`` on, that name weights to load."""
    found = flat_config(cfg.model).items()
    return [key for key, value in found if f".{key}".endswith(".weights") and isinstance(value, str)]


def has_random_encoder(cfg: DictConfig, model: nn.Module) -> bool:
    """Whether a model, as its config builds it, has an encoder (what is sharded block by block) without weights."""
    return any(True for unit in shard_units(model) for _ in unit.parameters()) and not _pretrained(cfg)


def _warn_if_frozen_at_random(cfg: DictConfig, model: nn.Module) -> None:
    """Of an encoder that neither has weights nor trains, nothing can be learnt."""
    trains = any(p.requires_grad for unit in shard_units(model) for p in unit.parameters())
    if has_random_encoder(cfg, model) and not trains and dist.is_main():
        logger.warning(
            "the encoder is frozen and its weights are random, its features show colours and edges, no meaning: set "
            "the encoder's weights, or train.init_from, or let it train (trainable_blocks)"
        )


def _facts(cfg: DictConfig, data: Mapping[str, Any]) -> dict[str, Any]:
    """What every checkpoint of the run carries besides its state."""
    return {
        "config": to_yaml(cfg),
        "categories": data["categories"],
        "pixel_classes": data["pixel_classes"],
        "data": dict(data),
        "world_size": dist.world_size(),
        "versions": {"pe_dense": pe_dense.__version__, "torch": str(torch.__version__)},
    }


def _run_hooks(cfg: DictConfig, trainer: Trainer) -> list[Hook]:
    """What every run does: the evaluation comes last, so that the checkpoint of its step is there already."""
    settings, per_epoch = trainer.settings, trainer.loader.steps_per_epoch
    hooks: list[Hook] = [] if trainer.ema is None else [EmaHook(trainer.ema)]
    hooks += [
        LogHook(settings.log_period),
        CheckpointHook(settings.steps_between_checkpoints(per_epoch), settings.keep_last, settings.async_checkpoint),
    ]
    if cfg.get("evaluator") is not None:
        hooks.append(_eval_hook(cfg, trainer))
    return hooks


def _eval_hook(cfg: DictConfig, trainer: Trainer) -> EvalHook:
    """Evaluates the run's present weights, averaged ones if there are."""
    settings = trainer.settings
    evaluation = build_evaluation(cfg, Path(settings.output_dir) / "inference")
    ckpt.check_categories(trainer.facts["categories"], evaluation.categories, "dataloader.train", "dataloader.test")
    ckpt.check_pixel_classes(
        trainer.facts["pixel_classes"], evaluation.pixel_classes, "dataloader.train", "dataloader.test"
    )
    evaluation.check_masks(trainer.model)

    def evaluate(trainer: Trainer) -> dict[str, float] | None:
        stop = lambda: bool(trainer.stop.received)
        with trainer.ema.applied() if trainer.ema is not None else nullcontext():
            return evaluation.run(trainer.model, trainer.device, settings.precision, trainer.step, should_stop=stop)

    period = settings.steps_between_evaluations(trainer.loader.steps_per_epoch)
    return EvalHook(evaluate, period, settings.best_metric)


def _own_hooks(cfg: DictConfig, more: Sequence[Hook]) -> list[Hook]:
    """The user's hooks: of the config, then ``more``.

    Raises:
        TypeError: if something else is among them, or the state of one could not be read from a checkpoint.
    """
    listed = instantiate(cfg.get("hooks"))
    if listed is not None and not isinstance(listed, list):
        raise TypeError(f"hooks must be a list of call nodes, it is {type(listed).__name__}: write hooks = [L(...)()]")
    hooks = [*(listed or ()), *more]
    for index, hook in enumerate(hooks):
        name = f"hooks[{index}] ({type(hook).__name__})"
        if not isinstance(hook, Hook):
            raise TypeError(f"{name} is not a pe_dense.engine.Hook: derive its class from it")
        file = io.BytesIO()
        torch.save(hook.state_dict(), file)
        file.seek(0)
        try:
            torch.load(file, weights_only=True)
        except Exception as error:  # unpickling raises nearly anything
            raise TypeError(
                f"the state_dict() of {name} holds more than numbers, strings, tensors, lists and dicts: a checkpoint "
                f"with it could not be read again"
            ) from error
    return hooks
