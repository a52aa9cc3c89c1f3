"""Names of Meta's released DETA files and ours, in one table read in both directions."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pe_dense.modeling.backbone import WeightsError
from pe_dense.modeling.backbone.weights import listed
from pe_dense.modeling.detection.released import COMPUTED, load_strictly, read_released, to_ours, to_theirs

# (released, ours); see pe_dense.modeling.detection.released.TABLE. The first row that fits counts.
TABLE: tuple[tuple[str, str], ...] = (
    ("backbone.0.body.fpn1.0.*", "backbone.up.*"),
    ("backbone.0.body.*", "backbone.backbone.*"),
    ("transformer.*", "transformer.*"),
    ("input_proj.*", "input_proj.*"),
    ("class_embed.*", "class_embed.*"),
    ("bbox_embed.*", "bbox_embed.*"),
)
_ALIAS = re.compile(r"transformer\.decoder\.((class|bbox)_embed\..+)")  # the release registers its heads twice
_HEADS = ("class_embed.", "bbox_embed.")
_BEYOND = ("denoising.", "mask_head.")  # options that the release does not have


def load_released_deta(model: nn.Module, weights: str | Path | Mapping[str, Tensor], trust_args: bool = False) -> None:
    """Load a released detector, strictly; parts that the release does not have keep their values.

    Args:
        model: :class:`Deta` with the sizes and the number of class columns of the file (COCO: 91).
        weights: the file; or its state dict.
        trust_args: also accept a file that holds an ``argparse.Namespace`` (the release's ``args``) beside tensors and
            plain values. That class runs no code when it is read; all others are refused still.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: for a file that cannot be read or is of another detector, and for keys that have no place in the
            model, are missing, or have another shape.
    """
    try:
        tensors, source = read_released(weights, [argparse.Namespace] if trust_args else [])
    except WeightsError as error:
        if "argparse.Namespace" not in str(error):
            raise
        raise WeightsError(
            f"{weights} holds the command line it was trained with (an argparse.Namespace) beside the weights; nothing "
            "was read. Set trust_args=True to accept this one class, which runs no code, and no other"
        ) from error
    queries = next((v for k, v in tensors.items() if k.endswith("query_embed.weight")), None)
    if queries is not None:
        raise WeightsError(
            f"{source} holds {len(queries)} learnt queries (query_embed.weight): it is another detector of the DETR "
            "family. DETA's queries are boxes of its first stage; their number is not in a file, set num_queries freely"
        )
    state = from_released(tensors, source)
    _check_classes(model, state, source)
    beyond = {key: value for key, value in model.state_dict().items() if key.startswith(_BEYOND)}
    load_strictly(model, beyond | state, source)


def _check_classes(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Classifiers of another size are what differs most often, so that has a message of its own."""
    key = "class_embed.0.weight"
    found, own = (len(s[key]) if key in s else None for s in (state, model.state_dict()))
    if found is not None and own is not None and found != own:
        raise WeightsError(
            f"{source} has classifiers of {found} columns, the model of {own}: set num_classes={found}, and "
            "class_columns to the column of each of the data set's classes"
        )


def from_released(state: Mapping[str, Tensor], source: str = "the state dict") -> dict[str, Tensor]:
    """Rename a released state dict. Rotary tables, which are computed here, and second names are left out.

    Args:
        state: tensors under the released names.
        source: for messages.

    Raises:
        WeightsError: if the table has no row for a key, or the two names of a head stand for different tensors.
    """
    kept = {key: value for key, value in state.items() if not COMPUTED.search(key)}
    wrong = []
    for alias in [key for key in kept if _ALIAS.fullmatch(key)]:
        value, key = kept.pop(alias), alias.removeprefix("transformer.decoder.")
        known = kept.setdefault(key, value)
        if known is not value and not _same(known, value):
            wrong.append(f"{alias} and {key}")
    if wrong:
        raise WeightsError(f"{source}: two names of a head stand for different tensors:{listed(wrong)}")
    return to_ours(kept, TABLE, f"{source} is not a released DETA detector")


def to_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of ours, heads under both of their names; the release computes its own rotary tables.

    Raises:
        WeightsError: if the table has no row for a key.
    """
    renamed = to_theirs(state, TABLE, "the state dict is not that of a DETA detector")
    return renamed | {f"transformer.decoder.{k}": v for k, v in renamed.items() if k.startswith(_HEADS)}


def _same(first: Tensor, second: Tensor) -> bool:
    if first.is_meta or second.is_meta or first.shape != second.shape:
        return first.shape == second.shape
    return torch.equal(first, second)
