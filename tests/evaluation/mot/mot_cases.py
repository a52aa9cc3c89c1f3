"""Random sequences with everything that makes tracking hard: clutter, misses, switches, distractors, empty frames."""

from pathlib import Path

import numpy as np

from pe_dense.data.mot import (
    SequenceInfo,
    write_kitti_results,
    write_mot_ground_truth,
    write_mot_results,
    write_mots,
    write_seqinfo,
)
from pe_dense.structures import Tracks, encode_rle


def random_truth(
    rng: np.random.Generator, frames: int, tracks: int, classes: tuple[int, ...], size: float = 60
) -> Tracks:
    """Walking boxes that come, go and pause; a tenth is marked as ignored. Whole pixels, so that ties occur."""
    rows: list[tuple[int, int]] = []
    boxes = []
    kinds = rng.choice(classes, tracks)
    for number in range(tracks):
        start, stop = sorted(rng.integers(0, frames + 1, 2))
        corner, sides = rng.uniform(0, 3 * size, 2), rng.uniform(size / 3, size, 2)
        speed = rng.normal(0, 2, 2)
        for frame in range(start, stop):
            corner = corner + speed
            if rng.random() < 0.9 and frame % 9 != 4:  # some frames stay empty
                rows.append((frame, number))
                boxes.append([*corner.round(), *(corner + sides).round()])
    keys = np.array(rows, dtype=np.int64).reshape(-1, 2)
    owners = keys[:, 1]
    return Tracks.create(keys[:, 0], boxes, owners + 3, classes=kinds[owners], ignored=rng.random(len(keys)) < 0.1)


def random_results(rng: np.random.Generator, truth: Tracks, frames: int, jitter: float = 6) -> Tracks:
    """Most objects of the truth, moved a little and with ids that change now and then, among false ones."""
    kept = rng.random(len(truth)) < 0.85
    near = truth[kept]
    ids = near.ids * 10 + (near.frames // 7 % 3) * (near.ids % 2)
    boxes = near.boxes + rng.normal(0, jitter, near.boxes.shape).round()
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])  # also boxes without an area
    count = frames * 2
    wrong_frames = np.repeat(np.arange(frames), 2)
    corners = rng.uniform(0, 200, (count, 2)).round()
    wrong = np.concatenate([corners, corners + rng.uniform(5, 60, (count, 2)).round()], axis=1)
    return Tracks.create(
        np.concatenate([near.frames, wrong_frames]),
        np.concatenate([boxes, wrong]),
        np.concatenate([ids, 1000 + np.arange(count)]),
        classes=np.concatenate([near.classes, rng.choice(near.classes, count)]),
    )  # fmt: skip


def write_mot_tree(root: Path, cases: dict[str, tuple[Tracks, Tracks, int]]) -> None:
    """Write TrackEval's tree with the benchmark "TOY-train" and the tracker "ours"."""
    for name, (truth, results, frames) in cases.items():
        write_mot_ground_truth(root / "gt/TOY-train" / name / "gt/gt.txt", truth)
        write_seqinfo(root / "gt/TOY-train" / name / "seqinfo.ini", SequenceInfo(name, frames, width=640, height=480))
        write_mot_results(root / "trackers/TOY-train/ours/data" / f"{name}.txt", results)
    seqmap = root / "gt/seqmaps/TOY-train.txt"
    seqmap.parent.mkdir(parents=True, exist_ok=True)
    seqmap.write_text("name\n" + "".join(f"{name}\n" for name in cases))


def write_kitti_tree(root: Path, cases: dict[str, tuple[Tracks, Tracks, int]]) -> None:
    """Write ``label_02``, a seqmap and the results of the tracker "ours"."""
    lines = []
    for name, (truth, results, frames) in cases.items():
        path = root / "gt/label_02" / f"{name}.txt"
        write_kitti_results(path, truth)
        rows = [line.split() for line in path.read_text().splitlines()]
        part = truth[np.lexsort((truth.ids, truth.frames))]
        for row, level, hidden in zip(rows, part.truncation.tolist(), part.occlusion.tolist()):
            row[3:5] = [str(level), str(hidden)]
            if row[2] == "DontCare":
                row[1] = "-1"
        path.write_text("".join(" ".join(row[:17]) + "\n" for row in rows))
        write_kitti_results(root / "trackers/ours/data" / f"{name}.txt", results)
        lines.append(f"{name} empty 000000 {frames:06d}\n")
    (root / "gt/evaluate_tracking.seqmap.training").write_text("".join(lines))


def with_masks(tracks: Tracks, rng: np.random.Generator, height: int = 120, width: int = 150) -> Tracks:
    """Ellipses in the boxes, of which the later ones of a frame cover the earlier ones; empty masks are left out."""
    ys, xs = np.mgrid[:height, :width] + 0.5
    masks = np.empty(len(tracks), dtype=object)
    seen = np.zeros(len(tracks), dtype=bool)
    for frame in np.unique(tracks.frames):
        rows = np.flatnonzero(tracks.frames == frame)
        owner = np.full((height, width), -1)
        for row in rng.permutation(rows):
            x0, y0, x1, y1 = tracks.boxes[row]
            inside = ((xs - (x0 + x1) / 2) / max(1, x1 - x0)) ** 2 + ((ys - (y0 + y1) / 2) / max(1, y1 - y0)) ** 2
            owner[inside <= 0.25] = row
        for row in rows:
            masks[row], seen[row] = encode_rle(owner == row), bool((owner == row).any())
    return Tracks.create(
        tracks.frames, tracks.boxes, np.where(tracks.classes == 10, -1, tracks.ids), classes=tracks.classes,
        ignored=tracks.classes == 10, masks=masks,
    )[seen]  # fmt: skip


def write_mots_tree(root: Path, cases: dict[str, tuple[Tracks, Tracks, int]]) -> None:
    """Write TrackEval's tree of MOTSChallenge with the tracker "ours"."""
    for name, (truth, results, frames) in cases.items():
        write_mots(root / "gt/MOTS-train" / name / "gt/gt.txt", truth)
        write_seqinfo(root / "gt/MOTS-train" / name / "seqinfo.ini", SequenceInfo(name, frames))
        write_mots(root / "trackers/MOTS-train/ours/data" / f"{name}.txt", results)
    seqmap = root / "gt/seqmaps/MOTS-train.txt"
    seqmap.parent.mkdir(parents=True, exist_ok=True)
    seqmap.write_text("name\n" + "".join(f"{name}\n" for name in cases))
