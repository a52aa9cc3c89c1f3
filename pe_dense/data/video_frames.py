"""The frames of annotated videos one after another, to evaluate a tracker on; and clips of them, to train one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pe_dense.data.errors import DataError
from pe_dense.data.frame_groups import check_group_batches, group_loader
from pe_dense.data.geometry import View
from pe_dense.data.image_io import planes
from pe_dense.data.indexed_png import VOID
from pe_dense.data.loader import TrainLoader
from pe_dense.data.transforms import Transform
from pe_dense.data.video_sequences import VideoSequence, VideoSequences


class VideoFrames:
    """Every frame of several videos, in order of time; an :class:`~pe_dense.data.mapper.ImageDataset`.

    Args:
        videos: with images, such as :class:`~pe_dense.data.DAVIS2017`.

    Attributes:
        videos: the same.
        clip_bounds: C + 1 int64: where each video begins among the frames, and their number.

    Raises:
        DataError: if videos have no images; all are named.
    """

    labels = ("object_ids",)

    def __init__(self, videos: VideoSequences) -> None:
        self.videos = videos
        videos.require_images()
        self.clip_bounds = np.cumsum([0, *(len(sequence.frames) for sequence in videos)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.clip_bounds[-1])

    def place(self, index: int) -> tuple[VideoSequence, str]:
        """Video and name of frame ``index``."""
        video = int(np.searchsorted(self.clip_bounds, index, side="right")) - 1
        sequence = self.videos[video]
        return sequence, sequence.frames[index - int(self.clip_bounds[video])]

    def file_name(self, index: int) -> str:
        """Path of the image of frame ``index``."""
        sequence, frame = self.place(index)
        return sequence.images[frame]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A frame as a tracker gets it.

        Returns:
            ``image`` (3 x H x W uint8 RGB), ``height``, ``width``, ``image_id`` (the index), ``file_name``,
            ``sequence`` and ``frame`` (names), ``begins`` (whether it is the video's first one) and, where objects
            begin in it, ``object_ids`` (H x W uint8): their masks, which are given.

        Raises:
            FileNotFoundError, DataError: if image or masks cannot be read, or differ in size.
        """
        sequence, frame = self.place(index)
        image = sequence.read_image(frame)
        item = {
            "image": planes(image),
            "height": image.shape[0],
            "width": image.shape[1],
            "image_id": index,
            "file_name": sequence.images[frame],
            "sequence": sequence.name,
            "frame": frame,
            "begins": frame == sequence.frames[0],
        }
        given = sequence.read_given(frame)
        if given is not None:
            check_size(sequence, frame, image, given)
            item["object_ids"] = torch.from_numpy(given)
        return item


def build_clip_loader(
    dataset: VideoFrames,
    transforms: Sequence[Transform],
    batch_size: int,
    clip_length: int = 4,
    max_gap: int = 10,
    num_workers: int = 4,
    seed: int = 0,
) -> TrainLoader:
    """Loader for training on clips: samples 0 to ``clip_length - 1`` of a batch are a clip, and so on.

    The first frame of a clip is the reference: every annotated frame of the videos is it once in a pass over them. The
    others are drawn at random among the annotated frames of its video that lie at most ``max_gap`` before or after it,
    each once as long as there are enough. All follows from the seed and the step, so that a resumed run sees the same
    clips. The frames of a clip go through the same transforms with the same random numbers. An epoch is as many frames
    as the data set has.

    Args:
        dataset: of the videos.
        transforms: augmentations, in order.
        batch_size: frames per step over all processes: a multiple of ``clip_length`` times the processes.
        clip_length: frames of a clip, at least 2.
        max_gap: how many frames lie between the reference and another frame at most, annotated or not.
        num_workers: worker processes of each process; 0 loads in the process itself.
        seed: of the order, the clips and the augmentations.

    Raises:
        ValueError: if a number is unusable.
        DataError: if no annotated frame has another one near it.
    """
    for name, value, least in (("clip_length", clip_length, 2), ("max_gap", max_gap, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, it is {value}")
    check_group_batches(batch_size, clip_length, num_workers, f"clips of {clip_length}")
    clips = _Clips(dataset, transforms, clip_length, max_gap)
    return group_loader(dataset, clips, clip_length, batch_size, num_workers, seed)


class _Clips:
    """Reference frame -> the samples of a clip."""

    def __init__(self, dataset: VideoFrames, transforms: Sequence[Transform], length: int, max_gap: int) -> None:
        self.dataset, self.transforms, self.length, self.max_gap = dataset, list(transforms), length, max_gap
        self._numbers = []  # of the annotated frames, video by video
        for start, sequence in zip(dataset.clip_bounds.tolist(), dataset.videos):
            places = [i for i, frame in enumerate(sequence.frames) if frame in sequence.annotations]
            self._numbers.append(start + np.array(places, dtype=np.int64))
        self._references = [
            (video, int(number))
            for video, numbers in enumerate(self._numbers)
            for number in numbers
            if len(self._partners(video, number))
        ]
        if not self._references:
            raise DataError(
                f"{dataset.videos.source}: no two annotated frames of a video lie at most {max_gap} apart: training "
                "needs masks of more than the first frame; raise max_gap, or use a training set"
            )

    def __len__(self) -> int:
        return len(self._references)

    def sample(self, index: int, rng: np.random.Generator) -> list[dict[str, Any]]:
        """The clip of a reference, as a model takes it."""
        video, reference = self._references[index]
        partners = self._partners(video, reference)
        chosen = rng.choice(partners, self.length - 1, replace=len(partners) < self.length - 1)
        numbers = [reference, *chosen.tolist()]
        places = [self.dataset.place(number) for number in numbers]
        images = [sequence.read_image(frame) for sequence, frame in places]
        labels = [sequence.read_labels(frame) for sequence, frame in places]
        for (sequence, frame), image, masks in zip(places, images, labels):
            check_size(sequence, frame, image, masks)
            if image.shape != images[0].shape:
                raise DataError(f"{sequence.images[frame]} has another size than frame {places[0][1]} of its video")
        return [
            {
                "image": planes(shown),
                "object_ids": torch.from_numpy(masks),
                "height": images[0].shape[0],
                "width": images[0].shape[1],
                "image_id": number,
                "file_name": sequence.images[frame],
                "sequence": sequence.name,
                "frame": frame,
            }
            for number, (sequence, frame), (shown, masks) in zip(numbers, places, self._shown(images, labels, rng))
        ]

    def _shown(
        self, images: Sequence[np.ndarray], labels: Sequence[np.ndarray], rng: np.random.Generator
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """All frames in the view that the first one gets, with the same change of colours."""
        view = View.whole(*labels[0].shape)
        for step in self.transforms:
            view = step.view_by_labels(view, rng, labels[0])
        seed = int(rng.integers(2**63))
        found = []
        for image, masks in zip(images, labels):
            shown, own = view.image(image), np.random.default_rng(seed)
            for step in self.transforms:
                shown = step.pixels(shown, own)
            found.append((shown, np.ascontiguousarray(view.labels(masks, fill=VOID))))
        return found

    def _partners(self, video: int, number: int) -> np.ndarray:
        """The other annotated frames of a video near one."""
        numbers = self._numbers[video]
        near = numbers[(numbers >= number - self.max_gap) & (numbers <= number + self.max_gap)]
        return near[near != number]


def check_size(sequence: VideoSequence, frame: str, image: np.ndarray, masks: np.ndarray) -> None:
    """Raise ``DataError`` unless the masks of a frame have the size of its image."""
    if masks.shape != image.shape[:2]:
        sizes = [" x ".join(map(str, reversed(array.shape[:2]))) for array in (masks, image)]
        raise DataError(
            f"mask {sequence.annotations[frame]} is {sizes[0]} but its image {sizes[1]}; use masks and images of the "
            "same resolution"
        )
