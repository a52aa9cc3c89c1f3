"""The training loop and what it needs: optimiser groups, schedules, checkpoints, logging."""

from pe_dense.engine.checkpoint import (
    Checkpoint,
    CheckpointError,
    convert_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from pe_dense.engine.hooks import Hook
from pe_dense.engine.interrupt import RunInterrupted
from pe_dense.engine.optim import SGD, AdamW
from pe_dense.engine.replay import NonFiniteLossError, load_replay
from pe_dense.engine.run import evaluate, train
from pe_dense.engine.run_directory import RunDirectoryError
from pe_dense.engine.run_log import read_metrics, setup_logging
from pe_dense.engine.schedules import Beta1Cycle, CosineSchedule, MultiStepSchedule, OneCycleSchedule, PolySchedule
from pe_dense.engine.settings import RunSettings, TrainSettings

__all__ = [
    "SGD",
    "AdamW",
    "Beta1Cycle",
    "Checkpoint",
    "CheckpointError",
    "CosineSchedule",
    "Hook",
    "MultiStepSchedule",
    "NonFiniteLossError",
    "OneCycleSchedule",
    "PolySchedule",
    "RunDirectoryError",
    "RunInterrupted",
    "RunSettings",
    "TrainSettings",
    "convert_checkpoint",
    "evaluate",
    "latest_checkpoint",
    "load_checkpoint",
    "load_replay",
    "newest_checkpoint",
    "read_metrics",
    "save_checkpoint",
    "setup_logging",
    "train",
]
