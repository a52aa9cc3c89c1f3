#!/usr/bin/env python
"""Write docs/settings.md from the signatures and docstrings of what the recipes call.

python docs/write_settings.py
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pe_dense import data, engine, evaluation
from pe_dense.config import load_config
from pe_dense.modeling import backbone, classification, depth, detection, multitask, segmentation, tracking
from pe_dense.modeling.tracking import association

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "settings.md"
Target = Callable[..., Any]

HEAD = """# Settings

What can be set, and what it is without being set. `train.epochs` is the argument `epochs` of what the config calls
under `train`; any argument can be given on the command line, also one that the recipe does not mention. The defaults
are those of the code; `tools/train_net.py --config-file F --print-config` shows what a recipe sets.

This page is written from the code's docstrings by `python docs/write_settings.py`.
"""
SECTIONS: dict[str, Sequence[Target]] = {
    "train": [engine.RunSettings, engine.TrainSettings],
    "optimizer": [engine.AdamW, engine.SGD],
    "lr_schedule": [
        engine.MultiStepSchedule, engine.CosineSchedule, engine.PolySchedule, engine.OneCycleSchedule,
    ],
    "dataloader.train": [
        data.build_train_loader, data.build_mixed_train_loader, data.build_clip_loader, data.build_pair_loader,
    ],
    "dataloader.train.sources.*": [data.DataSource],
    "dataloader.test": [data.build_test_loader],
    "dataloader.*.dataset": [
        data.CocoDataset, data.Objects365, data.DepthList, data.NYUDepth, data.NYUDepthMat, data.KITTIDepth,
        data.SemSegFolder, data.ADE20K, data.VOC2012, data.Cityscapes, data.CamVid, data.training_share,
        data.ClassFolder, data.JointDataset, data.MixedDataset, data.VideoFrames, data.MotFrames,
        data.CocoVideoFrames,
    ],
    "dataloader.*.dataset.videos": [data.DAVIS2016, data.DAVIS2017, data.YouTubeVOS, data.VideoFolder],
    "dataloader.*.transforms": [
        data.RandomFlip, data.LargeScaleJitter, data.ResizeShortestEdge, data.RandomCrop, data.RandomChoice,
        data.ColorJitter, data.Crop, data.FixedSizeCrop, data.RandomScale, data.RandomRotation, data.GammaJitter,
        data.PhotometricDistortion, data.RandomResizedCrop, data.CenterCrop,
    ],
    "evaluator": [
        evaluation.CocoEvaluator, evaluation.LvisEvaluator, evaluation.DepthEvaluator, evaluation.SemSegEvaluator,
        evaluation.ClassificationEvaluator, evaluation.LayerEvaluator, evaluation.VideoObjectEvaluator,
        evaluation.MotEvaluator,
    ],
    "evaluator.tracker": [association.Tracker],
    "evaluator.tracker.settings": [association.ByteTrack, association.BoTSORT, association.OCSORT],
    "model": [
        detection.build_mask_rcnn, detection.build_cascade_mask_rcnn, detection.build_tracking_rcnn,
        depth.build_linear_depth, depth.build_dpt_depth,
        segmentation.build_linear_segmenter, segmentation.build_pyramid_segmenter,
        classification.build_linear_classifier, backbone.LayerProbe, multitask.MultiTaskModel,
        tracking.VideoObjectTracker, tracking.LearnedTracker, tracking.TrackerProbe,
    ],
    "model.class_loss": [detection.FederatedLoss],
    "model.propagation": [tracking.LabelPropagation],
    "model.loss": [tracking.PropagationLoss],
    "model.inference": [segmentation.SegInference],
    "model.cache": [backbone.FeatureCache],
    "model.backbone": [
        backbone.FeaturePyramid, backbone.SpatialPriorPyramid, backbone.EncoderFeatures, tracking.ProjectedFeatures,
        tracking.ColorFeatures,
    ],
    "model.backbone.projection": [tracking.TokenProjection],
    "model.backbone.backbone": [backbone.pe_spatial_b16_512, backbone.PerceptionEncoder, backbone.EncoderShape],
    "knn": [classification.KnnClassifier],
    "videos": [data.DAVIS2017, data.DAVIS2016, data.YouTubeVOS, data.VideoFolder],
}  # fmt: skip
OWN_DATA = {"json": "json_file", "images": "image_root"}  # the other keys have the name of their argument
NOTES = {
    "train": "A training takes `TrainSettings`; what trains nothing, such as a probe of tracking, `RunSettings`.",
    "evaluator": "One, or a dict of several by name, see [several tasks](multitask.md#evaluation).",
    "dataloader.*.transforms": "Entries of a list, `dataloader.train.transforms.0.prob` for instance.",
    "model.backbone.backbone": "A `pe_*` tower by name (all have the same arguments), or an encoder of any size; "
    "`model.encoder` where tasks share it, their necks then have its shape.",
}
SET_BY_THE_RUN = ("evaluator.output_dir",)
IMAGE_SIZE = "side of the square that training images are scaled and cut to, and the longest side of a test image"


def page() -> str:
    """The whole page."""
    parts = [HEAD, *(section(prefix, targets) for prefix, targets in SECTIONS.items())]
    parts.insert(2, own_data())
    return "\n".join(parts)


def section(prefix: str, targets: Sequence[Target]) -> str:
    """Heading and a table for each of the classes or functions that can stand under a key."""
    lines = [f"## {prefix}", "", *([NOTES[prefix], ""] if prefix in NOTES else [])]
    known: set[str] = set()
    for target in targets:
        meanings = descriptions(target)
        rows = []
        for name, parameter in inspect.signature(target).parameters.items():
            row = f"| `{name}` | {default(target, parameter)} | {meanings.get(name, '')} |"
            if row not in known and f"{prefix}.{name}" not in SET_BY_THE_RUN:
                rows.append(row)
        also = " Besides the above:" if known and len(rows) < len(inspect.signature(target).parameters) else ""
        known.update(rows)
        summary = plain((inspect.getdoc(target) or "").split("\n\n")[0].partition(" Arguments: see")[0])
        lines += [f"`{target.__name__}`: {summary}{also}", "", *table(rows)]
    return "\n".join(lines)


def own_data() -> str:
    """The section about ``data``, which several arguments of the recipes for one's own data refer to."""
    recipe = DOCS.parent / "configs" / "custom" / "mask_rcnn_pe_spatial_b16.py"
    cfg = load_config(recipe, ["data.json=required", "data.images=required"])
    meanings = {**descriptions(data.validation_part), **descriptions(data.training_part)}
    rows = []
    for key, value in cfg.data.items():
        shown = value if value == "required" else f"`{json.dumps(value)}`"
        meaning = IMAGE_SIZE if key == "image_size" else meanings[OWN_DATA.get(key, key)]
        for own, argument in OWN_DATA.items():
            meaning = meaning.replace(f"`{argument}`", f"`{own}`")
        rows.append(f"| `{key}` | {shown} | {meaning} |")
    return "\n".join(["## data", "", "Of the recipes in `configs/custom` for a COCO json.", "", *table(rows)])


def table(rows: Sequence[str]) -> list[str]:
    """A table of settings in Markdown."""
    return ["| key | default | meaning |", "|---|---|---|", *rows, ""]


def descriptions(target: Target) -> dict[str, str]:
    """What a docstring's ``Args`` or ``Attributes`` says about each name; "see X" is looked up at X.

    Of settings that extend others, the others' too.
    """
    elsewhere = re.search(r"Arguments: see :\w+:`(\w+)`", inspect.getdoc(target) or "")
    if elsewhere:
        return descriptions(getattr(sys.modules[target.__module__], elsewhere.group(1)))
    found = re.search(r"^(?:Args|Attributes):\n((?: .*\n?|\n)*)", inspect.getdoc(target) or "", re.MULTILINE)
    bases = target.__mro__[1:-1] if inspect.isclass(target) else ()
    meanings = {name: text for base in reversed(bases) for name, text in descriptions(base).items()}
    entries = re.findall(r"^ {4}(\w+(?:,\s+\w+)*):\s+(.+(?:\n {8,}.+)*)", found.group(1) if found else "", re.MULTILINE)
    for names, text in entries:
        other = re.fullmatch(r"see :\w+:`~?(?:\w+\.)*(\w+)`\.?", text)
        source = descriptions(getattr(sys.modules[target.__module__], other.group(1))) if other else {}
        for name in re.split(r",\s+", names):
            meanings[name] = source[name] if other else plain(text)
    return meanings


def default(target: Target, parameter: inspect.Parameter) -> str:
    """A default as it is written in a config."""
    value = parameter.default
    if value is inspect.Parameter.empty:
        return "required"
    if dataclasses.is_dataclass(target):
        field = next(field for field in dataclasses.fields(target) if field.name == parameter.name)
        value = field.default_factory() if field.default_factory is not dataclasses.MISSING else value
    return f"`{json.dumps(value)}`"


def plain(text: str) -> str:
    """A docstring's text as one line of Markdown."""
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text.replace("``", "`"))
    for python, yaml in (("None", "null"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"`{python}`|\b{python}\b", f"`{yaml}`", text)
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
