"""Several heads on one encoder, which sees each image once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pe_dense.config.errors import did_you_mean
from pe_dense.modeling.backbone.dense_model import DenseModel, Sample, sample_name
from pe_dense.modeling.backbone.encoder_shape import EncoderShape
from pe_dense.modeling.backbone.features import EncoderFeatures, prepare_encoder
from pe_dense.modeling.backbone.pyramid import FeaturePyramid, Layer
from pe_dense.modeling.backbone.vit import PerceptionEncoder

Neck = EncoderFeatures | FeaturePyramid


class SharedEncoder(nn.Module):
    """An encoder that runs once for several necks. Parts that none of them needs do not train.

    Args:
        backbone: the encoder.
        necks: by task; built on the encoder's :class:`EncoderShape`.
        trainable_blocks: ``None`` trains the whole encoder, 0 freezes it, n trains its last n blocks.

    Attributes:
        layers: the blocks that any neck takes, counted from 0, in order.
        size_divisibility: what image sides must be multiples of for all necks.
    """

    def __init__(
        self, backbone: PerceptionEncoder, necks: Mapping[str, Neck], trainable_blocks: int | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self._taken = {name: ([i % backbone.depth for i in neck.layers], neck.norm) for name, neck in necks.items()}
        self.layers = sorted({i for layers, _ in self._taken.values() for i in layers})
        self.size_divisibility = math.lcm(*(neck.size_divisibility for neck in necks.values()))
        prepare_encoder(backbone, self.layers, any(norm for _, norm in self._taken.values()), trainable_blocks)

    def forward(self, images: Tensor) -> dict[str, list[Layer]]:
        """What each neck's ``from_layers`` takes.

        Args:
            images: B x 3 x H x W, normalised; H and W multiples of :attr:`size_divisibility`.
        """
        found = dict(zip(self.layers, self.backbone.forward_intermediates_with_cls(images, self.layers)))
        return {
            name: [self._normed(found[i]) if norm else found[i] for i in layers]
            for name, (layers, norm) in self._taken.items()
        }

    def _normed(self, layer: Layer) -> Layer:
        """The encoder's final norm on one layer."""
        grid, cls = layer
        norm = self.backbone.ln_post
        return norm(grid.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), None if cls is None else norm(cls)


class MultiTaskModel(DenseModel):
    """One encoder and several models without one, each for a task.

    A training sample may carry the labels of some tasks only: each task learns from the samples that have its own, and
    its losses are means over these, as if it trained alone. In evaluation every task predicts for every image.

    Batches are padded as all tasks need it: to a multiple of what each neck needs, and to at least the largest
    ``square_size``.

    Args:
        encoder: seen by all tasks.
        tasks: models of one kind of label each (detection, depth, segmentation), their necks built on
            :class:`EncoderShape`; the names are free.
        loss_weights: factor on the losses of a task, 1 where none is given.
        trainable_blocks: ``None`` trains the whole encoder, 0 freezes it, n trains its last n blocks.

    Attributes:
        labels: keys of what training samples carry: at least one of these.

    Raises:
        ValueError: for tasks that cannot share an encoder or the image, an unknown name in ``loss_weights``, or a
            weight that is not positive.
    """

    def __init__(
        self,
        encoder: PerceptionEncoder,
        tasks: Mapping[str, DenseModel],
        loss_weights: Mapping[str, float] | None = None,
        trainable_blocks: int | None = None,
    ) -> None:
        _check_tasks(tasks, encoder)
        shared = SharedEncoder(encoder, {n: cast(Neck, task.backbone) for n, task in tasks.items()}, trainable_blocks)
        first = next(iter(tasks.values()))
        squares = [task.square_size for task in tasks.values() if task.square_size is not None]
        super().__init__(shared, first.pixel_mean, first.pixel_std, max(squares, default=None))
        self.tasks = nn.ModuleDict(tasks)
        self._label = {name: task.labels[0] for name, task in tasks.items()}
        self.labels = tuple(self._label.values())
        self.loss_weights = _checked_weights(loss_weights or {}, list(tasks))

    @property
    def num_classes(self) -> int | None:
        """Classes of the objects."""
        return self._of_task("instances", "num_classes")

    @property
    def predicts_masks(self) -> bool | None:
        """Whether the objects have masks; ``None``: no task finds objects, or it does not tell."""
        return self._of_task("instances", "predicts_masks")

    @property
    def num_pixel_classes(self) -> int | None:
        """Classes of semantic segmentation."""
        return self._of_task("sem_seg", "num_classes")

    def _of_task(self, label: str, attribute: str) -> Any:
        """``None`` if no task has the label, or its model not the attribute."""
        tasks = (task for name, task in self.tasks.items() if self._label[name] == label)
        return getattr(next(tasks, None), attribute, None)

    def from_features(
        self, features: Mapping[str, Sequence[Layer]], sizes: Sequence[tuple[int, int]], samples: Sequence[Sample]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses or predictions of a batch.

        Args:
            features: the layers of each task's neck.
            sizes: valid (height, width) of each image.
            samples: in training mode with the labels of at least one task.

        Returns:
            in training mode the losses of every task times its weight, named ``depth.loss_sig``: also of a task that no
            sample of this process has labels for, which gets zeros, so that all processes have the same losses and
            gradients. In eval mode one dict per sample with the predictions of all tasks.

        Raises:
            ValueError: if a training sample has no labels that any task knows.
        """
        if self.training:
            return self._losses(features, sizes, samples)
        predictions: list[dict[str, Any]] = [{} for _ in samples]
        for name, task in self._models():
            found = task.from_features(_neck(task).from_layers(features[name]), sizes, samples)
            assert isinstance(found, list)
            for everything, own in zip(predictions, found):
                everything.update(own)
        return predictions

    def _losses(
        self, features: Mapping[str, Sequence[Layer]], sizes: Sequence[tuple[int, int]], samples: Sequence[Sample]
    ) -> dict[str, Tensor]:
        labelled = {n: [i for i, s in enumerate(samples) if s.get(key) is not None] for n, key in self._label.items()}
        self._check_labelled(samples, labelled)
        losses: dict[str, Tensor] = {}
        for (name, task), factor in zip(self._models(), self._factors([len(rows) for rows in labelled.values()])):
            # without any labels the first image, as if nothing were known about it, keeps heads and processes in step
            rows = labelled[name] or [0]
            own = [samples[i] if labelled[name] else {**samples[i], **task.blank_labels(sizes[i])} for i in rows]
            layers = features[name] if len(rows) == len(samples) else [_rows_of(x, rows) for x in features[name]]
            found = task.from_features(_neck(task).from_layers(layers), [sizes[i] for i in rows], own)
            assert isinstance(found, dict)
            losses.update({f"{name}.{key}": value * factor for key, value in found.items()})
        return losses

    def _factors(self, counts: Sequence[int]) -> Sequence[float | Tensor]:
        """Factor on the losses of each task, which are means over the samples of this process.

        Gradients are averaged over processes, so a process with more of a task's samples than others weighs more.
        """
        weights = list(self.loss_weights.values())
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return [weight if count else 0.0 for weight, count in zip(weights, counts)]
        own = torch.tensor(counts, dtype=torch.float32, device=self.device)
        everywhere = own.clone()
        dist.all_reduce(everywhere)
        factors = own * dist.get_world_size() / everywhere.clamp(min=1) * own.new_tensor(weights)
        return list(factors.unbind())

    def _check_labelled(self, samples: Sequence[Sample], labelled: Mapping[str, Sequence[int]]) -> None:
        used = {i for rows in labelled.values() for i in rows}
        lonely = next((sample for i, sample in enumerate(samples) if i not in used), None)
        if lonely is not None:
            raise ValueError(
                f"{sample_name(lonely)} has none of the labels that the tasks learn from ({', '.join(self.labels)}); "
                f"leave its data set out, give the model a task for it, or call model.eval()"
            )

    def _models(self) -> list[tuple[str, DenseModel]]:
        return [(name, cast(DenseModel, task)) for name, task in self.tasks.items()]


def _neck(task: DenseModel) -> Neck:
    return cast(Neck, task.backbone)


def _rows_of(layer: Layer, rows: Sequence[int]) -> Layer:
    """Some images of a batch."""
    grid, cls = layer
    index = torch.tensor(rows, device=grid.device)
    return grid[index], None if cls is None else cls[index]


def _check_tasks(tasks: Mapping[str, DenseModel], encoder: PerceptionEncoder) -> None:
    """Can these share an encoder, an image, and the sample's labels?"""
    if not tasks:
        raise ValueError("tasks is empty: give at least one model")
    first, kinds = next(iter(tasks)), dict[tuple[str, ...], str]()
    pixels = {name: (task.pixel_mean, task.pixel_std) for name, task in tasks.items()}
    for name, task in tasks.items():
        _check_shape(name, task.backbone.backbone, encoder)
        if len(task.labels) != 1:
            raise ValueError(f"task {name}: a {type(task).__name__} cannot share an encoder, it names no labels")
        if task.labels in kinds:
            raise ValueError(
                f"tasks {kinds[task.labels]} and {name} both learn from {task.labels[0]} and would predict it under "
                f"one name: give a model one task of each kind"
            )
        kinds[task.labels] = name
        if pixels[name] != pixels[first]:
            raise ValueError(
                f"tasks {first} and {name} see one image but differ in pixel_mean or pixel_std: {pixels[first]} and "
                f"{pixels[name]}; give them the same"
            )
        if not task.sees_images_once:
            raise ValueError(
                f"task {name} would look at each image more than once, but the encoder runs once for all tasks: leave "
                f"out tta, flip_test, and windows, sizes and mirroring of inference"
            )


def _check_shape(name: str, shape: Any, encoder: PerceptionEncoder) -> None:
    if not isinstance(shape, EncoderShape):
        raise ValueError(
            f"task {name} has an encoder of its own: build its neck on an EncoderShape, the encoder is the model's"
        )
    wanted, given = ({k: getattr(e, k) for k in ("embed_dim", "depth", "patch_size")} for e in (encoder, shape))
    if wanted != given:
        raise ValueError(f"task {name}: its EncoderShape has {given}, the encoder {wanted}; give it the encoder's")
    if shape.trainable_blocks is not None:
        raise ValueError(
            f"task {name}: trainable_blocks={shape.trainable_blocks} of its neck is for an encoder of its own; set "
            f"trainable_blocks of the multi-task model"
        )


def _checked_weights(given: Mapping[str, float], tasks: Sequence[str]) -> dict[str, float]:
    for name, weight in given.items():
        if name not in tasks:
            raise ValueError(f"loss_weights names the task {name!r}, there is {', '.join(tasks)}"
                             f"{did_you_mean(name, tasks)}")  # fmt: skip
        if not 0 < weight < math.inf:
            raise ValueError(f"loss_weights: {name} has {weight}; give a positive number, or leave the task out")
    return {name: float(given.get(name, 1.0)) for name in tasks}
