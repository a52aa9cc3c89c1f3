"""``train`` and ``evaluate``: from a config to a run."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

import pe_dense
from pe_dense.config import freeze_constants, from_yaml, instantiate, save_config, to_yaml
from pe_dense.engine import checkpoint as ckpt
from pe_dense.engine import distributed as dist
from pe_dense.engine import resume as same_run
from pe_dense.engine.ema import Ema
from pe_dense.engine.hooks import CheckpointHook, EmaHook, EvalHook, LogHook
from pe_dense.engine.inference import run_inference
from pe_dense.engine.rng import seed_all, set_rng_state
from pe_dense.engine.run_log import RunWriter, setup_logging
from pe_dense.engine.settings import TrainSettings
from pe_dense.engine.trainer import Trainer
from pe_dense.evaluation import format_results

logger = logging.getLogger(__name__)


def train(cfg: DictConfig, resume: bool = False) -> dict[str, float]:
    """Train as the config says, in the process group if there is one.

    Args:
        cfg: ``model``, ``dataloader.train``, ``optimizer``, ``lr_schedule``, ``train``; with ``dataloader.test`` and
            ``evaluator`` the model is evaluated during and after training.
        resume: continue the run in ``train.output_dir`` exactly where its newest checkpoint is; without a checkpoint
            start anew.

    Returns:
        Results of the last evaluation, empty without an evaluator.

    Raises:
        ValueError: if config, data, checkpoint and run directory do not fit together.
        NonFiniteLossError: if the loss is NaN or infinite.
        RunInterrupted: (a ``SystemExit``) after Ctrl-C or SIGTERM, with a checkpoint saved.
    """
    setup_logging(main=dist.is_main())
    cfg = freeze_constants(copy.deepcopy(cfg))
    settings: TrainSettings = instantiate(cfg.train)
    device = _prepare_process(settings)
    output_dir = Path(settings.output_dir)
    path = _find_checkpoint(output_dir) if resume else None
    if path is None:
        same_run.check_fresh(output_dir, settings.overwrite and not resume)
    saved = ckpt.load_checkpoint(path) if path is not None else None
    if saved is not None and path is not None:
        same_run.check_same_config(saved["config"], cfg, path)
    dist.barrier()  # nobody writes before everybody has looked
    if dist.is_main():
        if path is None:
            same_run.clear_run(output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        save_config(cfg, output_dir / "config.yaml")
    setup_logging(output_dir, main=dist.is_main())
    if resume and path is None:
        logger.warning("no checkpoint in %s: nothing to resume, starting a new run from step 0", output_dir)
    trainer, evaluation = _build(cfg, settings, device, saved, path)
    logger.info("training %d steps on %s, run directory %s", trainer.total_steps, device, output_dir)
    try:
        trainer.run()
    finally:
        if trainer.writer is not None:
            trainer.writer.close()
    return evaluation.results if evaluation is not None else {}


def evaluate(cfg: DictConfig, checkpoint: str | Path | None = None) -> dict[str, float]:
    """Evaluate a checkpoint with the config's test data and evaluator.

    Args:
        cfg: ``model``, ``dataloader.test``, ``evaluator`` and ``train`` (device, precision, output_dir).
        checkpoint: which one; None takes ``best.pt``, else the newest, of ``train.output_dir``, else
            ``train.init_from``, else the model as the config builds it.

    Returns:
        The evaluator's results; its files are in ``output_dir/inference``.

    Raises:
        FileNotFoundError: if the checkpoint does not exist.
        ValueError: if it does not fit the model, or the categories differ from the data set's.
    """
    setup_logging(main=dist.is_main())
    cfg = freeze_constants(copy.deepcopy(cfg))
    settings: TrainSettings = instantiate(cfg.train)
    device = _prepare_process(settings)
    setup_logging(settings.output_dir, main=dist.is_main())
    loader, evaluator = _build_evaluation(cfg)
    categories = getattr(loader.dataset, "categories", None)
    path = Path(checkpoint) if checkpoint is not None else _default_checkpoint(settings)
    if path is None:
        logger.warning("no checkpoint in %s: evaluating the model as the config builds it", settings.output_dir)
        model = instantiate(cfg.model)
        same_run.check_num_classes(cfg, model, categories)
    else:
        saved = ckpt.load_checkpoint(path)
        ckpt.check_categories(saved.get("categories"), categories, str(path), "dataloader.test")
        model = instantiate(without_pretrained(cfg).model)
        ckpt.load_weights(model, ckpt.inference_weights(saved), path)
        logger.info("evaluating %s (step %d)", path, saved["step"])
    results = run_inference(model.to(device), loader, evaluator, device, settings.precision)
    assert results is not None
    logger.info("results:\n%s", format_results(results))
    return results


def config_of_checkpoint(saved: Mapping[str, Any]) -> DictConfig:
    """The config a checkpoint was trained with."""
    return from_yaml(saved["config"], origin="config of the checkpoint")


def without_pretrained(cfg: DictConfig) -> DictConfig:
    """A copy whose model parts load no ``weights`` of their own, because a checkpoint replaces them anyway."""
    cfg = copy.deepcopy(cfg)
    for key, value in same_run.flat_config(cfg).items():
        if key.startswith("model.") and key.endswith(".weights") and isinstance(value, str):
            OmegaConf.update(cfg, key, None)
    return cfg


def _prepare_process(settings: TrainSettings) -> torch.device:
    """Device, threads, determinism and seed."""
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
    return device


def _find_checkpoint(output_dir: Path) -> Path | None:
    """The newest undamaged checkpoint; the main process decides for all."""
    folder = output_dir / "checkpoints"
    return dist.broadcast_object(ckpt.latest_checkpoint(folder) if dist.is_main() else None)


def _default_checkpoint(settings: TrainSettings) -> Path | None:
    folder = Path(settings.output_dir) / "checkpoints"
    if (folder / ckpt.BEST).is_file():
        return folder / ckpt.BEST
    latest = ckpt.latest_checkpoint(folder)
    return latest if latest is not None or settings.init_from is None else Path(settings.init_from)


def _build(
    cfg: DictConfig, settings: TrainSettings, device: torch.device, saved: dict[str, Any] | None, path: Path | None
) -> tuple[Trainer, EvalHook | None]:
    """All parts of the run, in the state of the checkpoint if there is one."""
    loader = instantiate(cfg.dataloader.train)
    categories = getattr(loader.dataset, "categories", None)
    data = dist.broadcast_object(same_run.data_fingerprint(loader.dataset) if dist.is_main() else {})
    if saved is not None and path is not None:
        same_run.check_same_data(saved["data"], data, path)
    model = _build_model(cfg, settings, saved, path)
    same_run.check_num_classes(cfg, model, categories)
    model.to(device)
    if settings.compile:
        getattr(model, "backbone", model).compile()
    ema = Ema(model, settings.ema_decay) if settings.ema_decay is not None else None
    writer = RunWriter(settings.output_dir, saved["step"] if saved is not None else None) if dist.is_main() else None
    facts = {
        "config": to_yaml(cfg),
        "categories": data["categories"],
        "data": data,
        "world_size": dist.world_size(),
        "versions": {"pe_dense": pe_dense.__version__, "torch": str(torch.__version__)},
    }
    multiplier = instantiate(cfg.lr_schedule)(settings.total_steps(loader.steps_per_epoch), loader.steps_per_epoch)
    optimizer = instantiate(cfg.optimizer)(model)
    trainer = Trainer(settings, model, optimizer, multiplier, loader, device, ema, writer, facts=facts)
    per_epoch = loader.steps_per_epoch
    checkpoints = CheckpointHook(
        settings.checkpoint_steps or settings.checkpoint_period * per_epoch, keep_last=settings.keep_last
    )
    trainer.hooks = [LogHook(settings.log_period), checkpoints]
    if ema is not None:
        trainer.hooks.insert(0, EmaHook(ema))
    evaluation = None
    if cfg.get("evaluator") is not None:
        test_loader, evaluator = _build_evaluation(cfg)
        test_categories = getattr(test_loader.dataset, "categories", None)
        ckpt.check_categories(data["categories"], test_categories, "dataloader.train", "dataloader.test")
        run = _evaluation_of(trainer, test_loader, evaluator)
        evaluation = EvalHook(run, settings.eval_period * per_epoch, settings.best_metric)
        trainer.hooks.append(evaluation)
    _set_state(trainer, saved)
    return trainer, evaluation


def _build_model(
    cfg: DictConfig, settings: TrainSettings, saved: Mapping[str, Any] | None, path: Path | None
) -> nn.Module:
    if saved is not None and path is not None:
        model: nn.Module = instantiate(without_pretrained(cfg).model)
        ckpt.load_weights(model, saved["model"], path)
    elif settings.init_from is not None:
        source = ckpt.load_checkpoint(settings.init_from)
        model = instantiate(without_pretrained(cfg).model)
        ckpt.load_weights(model, ckpt.inference_weights(source), settings.init_from)
        logger.info("new run from the weights of %s (step %d)", settings.init_from, source["step"])
    else:
        model = instantiate(cfg.model)
    return model


def _build_evaluation(cfg: DictConfig) -> tuple[Any, Any]:
    """Test loader and evaluator."""
    loader = instantiate(cfg.dataloader.test)
    evaluator = instantiate(cfg.evaluator, output_dir=str(Path(cfg.train.output_dir) / "inference"))
    return loader, evaluator


def _evaluation_of(
    trainer: Trainer, loader: Iterable[list[dict[str, Any]]], evaluator: Any
) -> Callable[[], dict[str, float] | None]:
    """Evaluates the run's present weights, averaged ones if there are."""

    def run() -> dict[str, float] | None:
        # only a single process may leave on its own: others would wait for it
        stop = lambda: bool(trainer.stop.received) and dist.world_size() == 1
        with trainer.ema.applied() if trainer.ema is not None else nullcontext():
            return run_inference(trainer.model, loader, evaluator, trainer.device, trainer.settings.precision, stop)

    return run


def _set_state(trainer: Trainer, saved: Mapping[str, Any] | None) -> None:
    """Bring everything but the weights to the checkpoint's state; a new run only separates the processes' dropout."""
    if saved is None:
        seed_all(trainer.settings.seed + dist.rank())
        return
    trainer.optimizer.load_state_dict(saved["optimizer"])
    trainer.step = saved["step"]
    if trainer.ema is not None:
        trainer.ema.load_state_dict(saved["ema"])
    for hook in trainer.hooks:
        if type(hook).__name__ in saved["hooks"]:
            hook.load_state_dict(saved["hooks"][type(hook).__name__])
    if saved["world_size"] == dist.world_size():
        set_rng_state(saved["rng"][dist.rank()])
    else:
        seed_all(trainer.settings.seed + trainer.step + dist.rank())
        logger.warning(
            "resuming with %d processes a run of %d: same step and data, but dropout differs, so not bit for bit",
            dist.world_size(), saved["world_size"],
        )  # fmt: skip
    logger.info("resuming at step %d of %d", trainer.step, trainer.total_steps)
