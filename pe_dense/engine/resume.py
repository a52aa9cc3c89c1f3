"""Continuing a run: its newest checkpoint, whether it belongs to this config and data, and its state."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pe_dense.config import ConfigError, from_yaml
from pe_dense.engine import distributed as dist
from pe_dense.engine.checkpoint import CheckpointError, check_fits, latest_checkpoint
from pe_dense.engine.config_diff import changed_keys, describe_changes, flat_config
from pe_dense.engine.hooks import named_hooks
from pe_dense.engine.optim import prepare_optimizer
from pe_dense.engine.rng import seed_all, set_rng_state
from pe_dense.engine.run_directory import RunDirectoryError
from pe_dense.engine.sharded import load_tensors, read_facts, read_own, tensor_shapes
from pe_dense.structures import Categories
from pe_dense.structures.wording import counted

if TYPE_CHECKING:
    from pe_dense.engine.trainer import Trainer

logger = logging.getLogger(__name__)

COMPARED = ("model", "dataloader", "evaluator", "optimizer", "lr_schedule", "train", "hooks")
"""The names that make up a run; other names in a config only matter where one of these refers to them."""

HARMLESS_KEYS = frozenset(
    f"train.{key}"
    for key in (
        "output_dir", "device", "compile", "deterministic", "num_threads", "overwrite", "init_from", "init_skip",
        "parallel", "reshard", "async_checkpoint", "log_period", "eval_period", "eval_steps", "checkpoint_period",
        "checkpoint_steps", "keep_last", "best_metric",
    )
)  # fmt: skip
"""Settings that may change when a run is resumed, because the weights it arrives at do not depend on them (apart from
rounding when the device changes). The length of the run is not one of them: schedules depend on it."""

HARMLESS_NAMES = frozenset({"num_workers", "json_file", "image_root", "val_json", "val_images"})
"""Keys that may change wherever they stand. Paths are among them because data may move; what the training data holds
is compared by :func:`data_fingerprint`."""


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint that a run continues from.

    Attributes:
        path: its folder.
        saved: what it holds besides tensors and the processes' own data.
    """

    path: Path
    saved: dict[str, Any]


def find_resume_point(output_dir: Path, cfg: DictConfig) -> ResumePoint | None:
    """The newest undamaged checkpoint of a run directory; the main process decides for all.

    Raises:
        CheckpointError: if all checkpoints are damaged.
        RunDirectoryError: if it belongs to another config.
    """
    path = dist.broadcast_object(latest_checkpoint(output_dir / "checkpoints") if dist.is_main() else None)
    if path is None:
        if dist.is_main():
            where = "holds no checkpoint" if output_dir.is_dir() else "does not exist"
            logger.warning("%s %s: there is nothing to resume, a new run starts at step 0", output_dir, where)
        return None
    point = ResumePoint(path, read_facts(path))
    check_same_config(point.saved["config"], cfg, path)
    return point


def restore(trainer: Trainer, point: ResumePoint) -> None:
    """Bring a trainer whose parts are fresh to the checkpoint's state. Called by every process.

    Raises:
        CheckpointError: if the weights do not fit the model.
    """
    saved = point.saved
    shapes = tensor_shapes(point.path)
    found = {name.removeprefix("model."): s for name, (s, _) in shapes.items() if name.startswith("model.")}
    check_fits({name: tuple(t.shape) for name, t in trainer.model.state_dict().items()}, found, point.path)
    prepare_optimizer(trainer.model, trainer.optimizer, shapes)
    load_tensors(point.path, trainer.tensors())
    trainer.step = saved["step"]
    same_group = saved["world_size"] == dist.world_size()
    own = read_own(point.path, dist.rank() if same_group else 0)
    hooks = named_hooks(trainer.hooks)
    for name in hooks.keys() & own["hooks"].keys():
        hooks[name].load_state_dict(own["hooks"][name])
    if unknown := sorted(name for name, state in own["hooks"].items() if state and name not in hooks):
        logger.warning("the checkpoint holds the state of hooks that are not there now: %s", ", ".join(unknown))
    if same_group:
        set_rng_state(own["rng"])
    else:
        seed_all(trainer.settings.seed + trainer.step + dist.rank())
        logger.warning(
            "resuming with %s a run of %d: same step and data, but dropout differs, so not bit for bit",
            counted(dist.world_size(), "process"), saved["world_size"],
        )  # fmt: skip
    logger.info("resuming at step %d of %d", trainer.step, trainer.total_steps)


def check_same_config(saved_yaml: str, cfg: DictConfig, source: Path) -> None:
    """Compare the config of a checkpoint with the present one.

    Raises:
        RunDirectoryError: listing the keys that differ, other than harmless ones.
    """
    saved = _compared(from_yaml(saved_yaml, origin=f"config in {source}"))
    present = _compared(cfg)
    changed = changed_keys(saved, present)
    serious = [k for k in changed if k not in HARMLESS_KEYS and k.rsplit(".", 1)[-1] not in HARMLESS_NAMES]
    if serious:
        raise RunDirectoryError(
            f"cannot resume from {source}: the config differs in {describe_changes(serious, saved, present)}; "
            f"undo these changes, or start a new run with train.init_from={source} and another train.output_dir"
        )
    if changed:
        logger.info("resuming with changed settings that do not matter: %s", ", ".join(changed))


def _compared(cfg: DictConfig) -> dict[str, Any]:
    return {key: value for key, value in flat_config(cfg).items() if key.split(".")[0] in COMPARED}


def data_fingerprint(dataset: Any) -> dict[str, Any]:
    """What identifies a training set: number of images, classes, the SHA-256 of its json file if it has one (or of what
    it has instead of one, its ``content_sha256``), and the same of each data set that it consists of.
    """
    categories: Categories | None = getattr(dataset, "categories", None)
    json_file = getattr(dataset, "json_file", None)
    digest: str | None = getattr(dataset, "content_sha256", None)
    if digest is None and json_file is not None and Path(json_file).is_file():
        hasher = hashlib.sha256()
        with open(json_file, "rb") as file:
            while block := file.read(1 << 20):
                hasher.update(block)
        digest = hasher.hexdigest()
    return {
        "num_images": len(dataset),
        "categories": categories.to_json() if categories is not None else None,
        "json_sha256": digest,
        "pixel_classes": getattr(dataset, "classes", None),
        "parts": {name: data_fingerprint(part) for name, part in getattr(dataset, "parts", {}).items()},
    }


def check_same_data(saved: dict[str, Any], present: dict[str, Any], source: Path) -> None:
    """Compare two fingerprints.

    Raises:
        RunDirectoryError: naming what differs.
    """
    what = {
        "num_images": "number of images",
        "categories": "categories",
        "json_sha256": "content of the annotations",
        "pixel_classes": "pixel classes",
        "parts": "data sets that it consists of",
    }
    # checkpoints older than a key lack it
    different = [text for key, text in what.items() if key in saved and saved[key] != present.get(key)]
    if different:
        counts = f"{counted(saved.get('num_images', 0), 'image')} there, {present.get('num_images')} here"
        raise RunDirectoryError(
            f"cannot resume from {source}: the training data is not the same ({', '.join(different)} differ; {counts});"
            f" set dataloader.train.dataset to the data of that run, or start a new run with train.init_from={source}"
        )


def check_num_classes(
    cfg: DictConfig, model: Any, categories: Categories | None, pixel_classes: Sequence[str] | None = None
) -> None:
    """The model must have one class per category of the data, and one per class of its pixels.

    Raises:
        CheckpointError: naming both numbers and the key to set.
    """
    found = {k: v for k, v in flat_config(cfg).items() if k.startswith("model.") and k.endswith("num_classes")}
    for attribute, data, what in (
        ("num_classes", categories, "category"),
        ("num_pixel_classes", pixel_classes, "class of pixels"),
    ):
        classes = getattr(model, attribute, None)
        if classes is not None and data is not None and classes != len(data):
            keys = [key for key, value in found.items() if value == classes] or list(found)
            raise CheckpointError(
                f"the model has {counted(classes, 'class')} but the data set has {counted(len(data), what)}: "
                f"set {' and '.join(keys or ['model.num_classes'])} to {len(data)}"
            )


def check_labels(model: Any, dataset: Any) -> None:
    """A model of several tasks and its data must fit: no task without data, no data set without a task.

    Models and data sets that do not say what labels they have are not checked. Images that have more labels than are
    learnt from are only warned of.

    Args:
        model: with the ``labels`` that its training samples carry.
        dataset: with the ``labels`` of its items; or with ``parts`` that have some, each item being of one part.

    Raises:
        ConfigError: naming the labels and, if a data set is made of several, which one.
    """
    wanted: tuple[str, ...] = getattr(model, "labels", ())
    separate = getattr(dataset, "separate", False)
    parts = dataset.parts if separate else {"dataloader.train.dataset": dataset}
    given = {name: getattr(part, "labels", ()) for name, part in parts.items()}
    if not wanted or not all(given.values()):
        return
    for name, labels in given.items():
        if not set(labels) & set(wanted):
            raise ConfigError(
                f"the training data set {name} has {', '.join(labels)}, but the model learns from {', '.join(wanted)}: "
                f"leave it out, or add a task for it to the model"
            )
        if unused := sorted(set(labels) - set(wanted)):
            logger.warning("no task of the model learns from the training data's %s (%s)", ", ".join(unused), name)
    missing = [label for label in wanted if not any(label in labels for labels in given.values())]
    if missing:
        raise ConfigError(
            f"the model learns from {', '.join(missing)}, but no training data set ({', '.join(given)}) has that: add "
            f"one to dataloader.train, or take the task out of the model"
        )
