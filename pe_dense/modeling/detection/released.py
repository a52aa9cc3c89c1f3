"""Names of Meta's released Mask R-CNN files (detectron2's) and ours, in one table read in both directions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from pe_dense.modeling.backbone.weights import WeightsError, listed, read_state_dict

logger = logging.getLogger(__name__)

# (detectron2, ours). {n} is a number, {n+1} the same number plus one, * any rest of the name.
TABLE: tuple[tuple[str, str], ...] = (
    ("backbone.net.*", "backbone.backbone.*"),
    ("backbone.simfp_{n}.*", "backbone.p{n}.*"),
    ("proposal_generator.rpn_head.conv.conv{n}.*", "proposal_generator.head.convs.{n}.*"),
    ("proposal_generator.rpn_head.objectness_logits.*", "proposal_generator.head.objectness.*"),
    ("proposal_generator.rpn_head.anchor_deltas.*", "proposal_generator.head.deltas.*"),
    ("roi_heads.box_head.conv{n+1}.*", "roi_heads.box_head.convs.{n}.*"),
    ("roi_heads.box_head.fc{n+1}.*", "roi_heads.box_head.fcs.{n}.*"),
    ("roi_heads.box_predictor.cls_score.*", "roi_heads.box_predictor.cls_score.*"),
    ("roi_heads.box_predictor.bbox_pred.*", "roi_heads.box_predictor.bbox_pred.*"),
    ("roi_heads.box_predictor.fed_loss_cls_weights", "roi_heads.box_predictor.class_loss.class_weights"),
    ("roi_heads.box_head.{s}.conv{n+1}.*", "roi_heads.box_heads.{s}.convs.{n}.*"),
    ("roi_heads.box_head.{s}.fc{n+1}.*", "roi_heads.box_heads.{s}.fcs.{n}.*"),
    ("roi_heads.box_predictor.{s}.fed_loss_cls_weights", "roi_heads.box_predictors.{s}.class_loss.class_weights"),
    ("roi_heads.box_predictor.{s}.cls_score.*", "roi_heads.box_predictors.{s}.cls_score.*"),
    ("roi_heads.box_predictor.{s}.bbox_pred.*", "roi_heads.box_predictors.{s}.bbox_pred.*"),
    ("roi_heads.mask_head.mask_fcn{n+1}.*", "roi_heads.mask_head.convs.{n}.*"),
    ("roi_heads.mask_head.deconv.*", "roi_heads.mask_head.deconv.*"),
    ("roi_heads.mask_head.predictor.*", "roi_heads.mask_head.predictor.*"),
)
COMPUTED = re.compile(r"\.rope(_win|_glb)?\.freqs_(cos|sin)$")  # rotary tables: functions of the grid
_BATCHED = "backbone.backbone.positional_embedding"  # 1 x N x C in the files, N x C here
_PLACEHOLDER = re.compile(r"\\\{(\w)(\\\+1)?\\\}|\\\*")


def load_released(model: nn.Module, weights: str | Path | Mapping[str, Tensor]) -> None:
    """Load a released detector, strictly.

    Args:
        model: :class:`MaskRCNN` on a ``FeaturePyramid``.
        weights: ``.pth``, ``.pt`` or ``.safetensors`` file with a state dict in detectron2's names, bare or wrapped
            (``model``, ``state_dict`` ...); or the state dict itself.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: for a file that cannot be read, and for keys that have no place in the model, are missing, or
            have another shape; the message names the first of them.
    """
    tensors, source = read_released(weights)
    load_strictly(model, from_detectron2(tensors, source), source)


def read_released(
    weights: str | Path | Mapping[str, Tensor], allowed: Sequence[type] = ()
) -> tuple[Mapping[str, Tensor], str]:
    """Named tensors of a released file, or those given, and what to call them in messages.

    Args:
        weights: a file, or the state dict itself.
        allowed: see :func:`pe_dense.modeling.backbone.weights.read_state_dict`.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: for a file that cannot be read.
    """
    if not isinstance(weights, (str, Path)):
        return weights, "the given state dict"
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"weights file {path} does not exist; give the path of a released detector file")
    return read_state_dict(path, allowed), str(path)


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a released detector's state dict, already under the model's names.

    Args:
        model: if it was built on the meta device, the tensors become its parameters, and take no memory twice.
        state: tensors under the model's names.
        source: for messages.

    Raises:
        WeightsError: for keys that have no place in the model, are missing, or have another shape.
    """
    own = model.state_dict()
    faults = [f"{k} (not in the model)" for k in state if k not in own]
    faults += [f"{k} (missing in the file)" for k in own if k not in state]
    faults += [
        f"{k} (file {tuple(v.shape)}, model {tuple(own[k].shape)})"
        for k, v in state.items()
        if k in own and v.shape != own[k].shape
    ]
    if faults:
        raise WeightsError(
            f"{source} does not fit the model in {len(faults)} keys; build the detector with the sizes, number of "
            f"classes and masks the file was trained with:{listed(faults)}"
        )
    on_meta = any(value.is_meta for value in own.values())
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, assign=on_meta)
    logger.info("released detector: %d tensors from %s", len(state), source)


def from_detectron2(state: Mapping[str, Tensor], source: str = "the state dict") -> dict[str, Tensor]:
    """Rename a detectron2 state dict; rotary tables, which are computed here, are left out.

    Args:
        state: tensors under detectron2's names.
        source: for messages.

    Raises:
        WeightsError: if the table has no row for a key.
    """
    problem = (
        f"{source} is not a released Mask R-CNN; an encoder's file goes to the encoder's own weights option, "
        "a checkpoint of a run to train.init_from or --checkpoint"
    )
    return to_ours(state, TABLE, problem)


def to_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of ours for detectron2, whose own rotary tables then stay as built.

    Raises:
        WeightsError: if the table has no row for a key.
    """
    return to_theirs(state, TABLE, "the state dict is not that of a Mask R-CNN with ViTDet's heads")


def to_ours(state: Mapping[str, Tensor], table: Iterable[tuple[str, str]], problem: str) -> dict[str, Tensor]:
    """A released state dict under our names, by a table of (theirs, ours); rotary tables are left out.

    Raises:
        WeightsError: starting with ``problem``, if the table has no row for a key.
    """
    renamed = rename_keys({k: v for k, v in state.items() if not COMPUTED.search(k)}, table, problem)
    if _BATCHED in renamed:
        renamed[_BATCHED] = renamed[_BATCHED].flatten(0, -2)
    return renamed


def to_theirs(state: Mapping[str, Tensor], table: Iterable[tuple[str, str]], problem: str) -> dict[str, Tensor]:
    """The other way, by the same table.

    Raises:
        WeightsError: as :func:`to_ours`.
    """
    state = {key: value[None] if key == _BATCHED else value for key, value in state.items()}
    return rename_keys(state, [(ours, theirs) for theirs, ours in table], problem)


def rename_keys(state: Mapping[str, Tensor], table: Iterable[tuple[str, str]], problem: str) -> dict[str, Tensor]:
    """Rename by a table of (source, target) patterns as in :data:`TABLE`.

    Raises:
        WeightsError: starting with ``problem``, if the table has no row for a key.
    """
    rows = [(_pattern(source), target) for source, target in table]
    renamed: dict[str, Tensor] = {}
    unknown: list[str] = []
    for key, value in state.items():
        found = next(((m, target) for pattern, target in rows if (m := pattern.fullmatch(key))), None)
        if found is None:
            unknown.append(key)
        else:
            renamed[_fill(*found)] = value
    if unknown:
        raise WeightsError(f"{problem}. {len(unknown)} unknown keys:{listed(unknown)}")
    return renamed


def _pattern(template: str) -> re.Pattern[str]:
    """Regular expression of a table entry; groups are named by the placeholder, with ``_1`` for ``+1``."""

    def group(match: re.Match[str]) -> str:
        if match[1] is None:
            return "(?P<rest>.+)"
        return rf"(?P<{match[1]}{'_1' if match[2] else ''}>\d+)"

    return re.compile(_PLACEHOLDER.sub(group, re.escape(template)))


def _fill(match: re.Match[str], template: str) -> str:
    """The other side's name for a matched key."""
    numbers = {
        name.removesuffix("_1"): int(value) - name.endswith("_1")
        for name, value in match.groupdict().items()
        if name != "rest"
    }
    for name, number in numbers.items():
        template = template.replace(f"{{{name}}}", str(number)).replace(f"{{{name}+1}}", str(number + 1))
    return template.replace("*", match.groupdict().get("rest", ""))
