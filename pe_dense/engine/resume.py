"""Is this the run that the checkpoint belongs to?"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pe_dense.config import from_yaml
from pe_dense.engine.checkpoint import CheckpointError, list_checkpoints
from pe_dense.structures import Categories

logger = logging.getLogger(__name__)

COMPARED = ("model", "dataloader", "evaluator", "optimizer", "lr_schedule", "train")
"""The names that make up a run; other names in a config only matter where one of these refers to them."""

HARMLESS_KEYS = frozenset(
    f"train.{key}"
    for key in (
        "output_dir", "device", "compile", "deterministic", "num_threads", "overwrite", "init_from",
        "log_period", "eval_period", "checkpoint_period", "checkpoint_steps", "keep_last", "best_metric",
    )
)  # fmt: skip
"""Settings that may change when a run is resumed, because the weights it arrives at do not depend on them (apart from
rounding when the device changes). The length of the run is not one of them: schedules depend on it."""

HARMLESS_NAMES = frozenset({"num_workers", "json_file", "image_root", "val_json", "val_images"})
"""Keys that may change wherever they stand. Paths are among them because data may move; what the training data holds
is compared by :func:`data_fingerprint`."""


class RunDirectoryError(ValueError):
    """The run directory holds another run than the one that was asked for."""


def flat_config(cfg: DictConfig) -> dict[str, Any]:
    """All leaves of a config with interpolations resolved, by dotted key."""
    leaves: dict[str, Any] = {}

    def walk(node: Any, key: str) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
        if not items or not node:
            leaves[key] = node
            return
        for name, child in items:
            walk(child, f"{key}.{name}" if key else str(name))

    walk(OmegaConf.to_container(cfg, resolve=True), "")
    return leaves


def check_same_config(saved_yaml: str, cfg: DictConfig, source: Path) -> None:
    """Compare the config of a checkpoint with the present one.

    Raises:
        RunDirectoryError: listing the keys that differ, other than harmless ones.
    """
    saved = flat_config(from_yaml(saved_yaml, origin=f"config in {source}"))
    present = flat_config(cfg)
    nothing = object()
    keys = sorted(k for k in saved.keys() | present.keys() if k.split(".")[0] in COMPARED)
    changed = [k for k in keys if saved.get(k, nothing) != present.get(k, nothing)]
    serious = [k for k in changed if k not in HARMLESS_KEYS and k.rsplit(".", 1)[-1] not in HARMLESS_NAMES]
    if serious:
        shown = "; ".join(f"{k}: {saved.get(k, 'not set')} -> {present.get(k, 'not set')}" for k in serious[:8])
        more = f" and {len(serious) - 8} more" if len(serious) > 8 else ""
        raise RunDirectoryError(
            f"cannot resume from {source}: the config differs in {len(serious)} keys ({shown}{more}); "
            f"undo these changes, or start a new run with train.init_from={source} and another train.output_dir"
        )
    if changed:
        logger.info("resuming with changed settings that do not matter: %s", ", ".join(changed))


def data_fingerprint(dataset: Any) -> dict[str, Any]:
    """What identifies a training set: number of images, categories, and the SHA-256 of its json file if it has one."""
    categories: Categories | None = getattr(dataset, "categories", None)
    json_file = getattr(dataset, "json_file", None)
    digest = None
    if json_file is not None and Path(json_file).is_file():
        hasher = hashlib.sha256()
        with open(json_file, "rb") as file:
            while block := file.read(1 << 20):
                hasher.update(block)
        digest = hasher.hexdigest()
    return {
        "num_images": len(dataset),
        "categories": categories.to_json() if categories is not None else None,
        "json_sha256": digest,
    }


def check_same_data(saved: dict[str, Any], present: dict[str, Any], source: Path) -> None:
    """Compare two fingerprints.

    Raises:
        RunDirectoryError: naming what differs.
    """
    what = {"num_images": "number of images", "categories": "categories", "json_sha256": "content of the json file"}
    different = [text for key, text in what.items() if saved.get(key) != present.get(key)]
    if different:
        counts = f"{saved.get('num_images')} images there, {present.get('num_images')} here"
        raise RunDirectoryError(
            f"cannot resume from {source}: the training data is not the same ({', '.join(different)} differ; {counts});"
            f" set dataloader.train.dataset to the data of that run, or start a new run with train.init_from={source}"
        )


def check_fresh(output_dir: Path, overwrite: bool) -> None:
    """A new run must not mix with an earlier one.

    Raises:
        RunDirectoryError: if the directory holds checkpoints and may not be overwritten.
    """
    found = list_checkpoints(output_dir / "checkpoints")
    if found and not overwrite:
        raise RunDirectoryError(
            f"{output_dir} already holds a run ({len(found)} checkpoints, newest {found[-1].name}): continue it with "
            f"--resume, choose another train.output_dir, or delete it with train.overwrite=true"
        )


def clear_run(output_dir: Path) -> None:
    """Remove what an earlier run left that a new one would not overwrite."""
    stale = [*(output_dir / "checkpoints").glob("*.pt"), *(output_dir / "checkpoints").glob("*.pt.tmp")]
    stale += [*output_dir.glob("tensorboard/events.*"), *output_dir.glob("nonfinite_step_*.pt"), output_dir / "log.txt"]
    for path in stale:
        path.unlink(missing_ok=True)


def check_num_classes(cfg: DictConfig, model: Any, categories: Categories | None) -> None:
    """The model must have one class per category of the training data.

    Raises:
        CheckpointError: naming both numbers and the key to set.
    """
    classes = getattr(model, "num_classes", None)
    if classes is None or categories is None or classes == len(categories):
        return
    keys = [k for k in flat_config(cfg) if k.startswith("model.") and k.endswith("num_classes")]
    raise CheckpointError(
        f"the model has {classes} classes but the data set has {len(categories)} categories: "
        f"set {' and '.join(keys or ['model.num_classes'])} to {len(categories)}"
    )
