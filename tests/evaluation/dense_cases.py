"""Small data sets of depth and labels, and direct implementations to compare with."""

import cv2
import numpy as np
import torch


class DepthSet:
    """Depth maps in memory with the readers of a data set; image ids are the positions."""

    def __init__(self, depths, names=None):
        self.depths = [np.asarray(d, dtype=np.float32) for d in depths]
        self.names = names or [f"room/rgb_{i:05d}.jpg" for i in range(len(depths))]

    def __len__(self):
        return len(self.depths)

    def file_name(self, index):
        return self.names[index]

    def read_depth(self, index):
        return self.depths[index]


class LabelSet:
    """Label maps in memory."""

    def __init__(self, labels, classes, names=None):
        self.labels = [np.asarray(x, dtype=np.uint8) for x in labels]
        self.classes = classes
        self.names = names or [f"street_{i}.png" for i in range(len(labels))]

    def __len__(self):
        return len(self.labels)

    def file_name(self, index):
        return self.names[index]

    def read_sem_seg(self, index):
        return self.labels[index]


def feed(evaluator, key, predictions, ids=None, batch=2):
    """Metrics of predictions (H x W arrays) of the images ``ids``."""
    evaluator.reset()
    ids = list(range(len(predictions))) if ids is None else ids
    for start in range(0, len(ids), batch):
        chosen = ids[start : start + batch]
        outputs = [{key: torch.as_tensor(np.asarray(predictions[i]))} for i in chosen]
        evaluator.process([{"image_id": i, "file_name": f"{i}"} for i in chosen], outputs)
    return evaluator.evaluate()


def depth_case(count=5, size=(24, 32), seed=0):
    """Ground truth with holes, and predictions a little off."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(count):
        truth = rng.uniform(0.5, 9.5, size).astype(np.float32)
        predictions.append((truth * rng.uniform(0.7, 1.4, size)).astype(np.float32))
        truth[rng.random(size) < 0.3] = 0
        truths.append(truth)
    return truths, predictions


def label_case(count=4, classes=5, size=(30, 40), seed=0):
    """Blocks of labels with some ignored pixels, and predictions with other outlines."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(count):
        coarse = rng.integers(0, classes, (5, 7)).astype(np.uint8)
        truth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)
        predictions.append(np.roll(truth, (2, 1), (0, 1)).astype(np.int64))
        truth = truth.copy()
        truth[5:9, 10:20] = 255
        truths.append(truth)
    return truths, predictions


def boundary_of_mask(mask, distance):
    """The band of one class's mask: what erosion by repeated 3 x 3 steps takes away, the outside counting as empty."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), dtype=np.uint8), iterations=distance)[1:-1, 1:-1]
    return mask & ~eroded.astype(bool)
