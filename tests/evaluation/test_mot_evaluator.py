"""Tracking scored as objects are found: the same numbers as from saved results."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pe_dense.data import build_test_loader
from pe_dense.data.mot import Clip, TrackedFrames, find_mot_sequences, match_results, write_mot_ground_truth
from pe_dense.evaluation import Evaluator, MotEvaluator
from pe_dense.evaluation.mot import COMBINED, KITTI, MOT15, evaluate_tracking
from pe_dense.modeling.tracking.association import BoTSORT, ByteTrack, Tracker
from pe_dense.structures import Categories, Instances, Tracks

LENGTHS = {"a": 9, "b": 6, "c": 4}


def truth_of(name: str) -> Tracks:
    """Two objects that move, one of them for the second half only."""
    length, shift = LENGTHS[name], 3.0 * (ord(name) - ord("a"))
    frames = np.concatenate([np.arange(length), np.arange(length // 2, length)])
    ids = np.repeat([1, 2], [length, length - length // 2])
    left = 10 + 4.0 * frames * ids + shift
    boxes = np.stack([left, 20.0 * ids, left + 20, 20.0 * ids + 16], axis=1)
    return Tracks.create(frames, boxes, ids, classes=np.zeros(len(ids))).sorted()


class Frames(TrackedFrames):
    """Without images."""

    def unlabelled(self, index: int) -> dict:
        clip, frame = self.place(index)
        return {"image": torch.zeros(3, 8, 8, dtype=torch.uint8), "height": 96, "width": 128, "image_id": index,
                "file_name": "", "sequence": self.clips[clip].name, "frame": frame}  # fmt: skip


def frames_of(names: str = "abc", categories: Categories | None = None) -> TrackedFrames:
    clips = [Clip(n, tuple(Path(f"{i}.png") for i in range(LENGTHS[n])), 10.0, truth_of(n)) for n in names]
    return Frames(clips, "toys", categories)


def detect(sample: dict) -> dict:
    """The objects with noise, a miss now and then, and a false alarm."""
    truth = truth_of(sample["sequence"])
    rng = np.random.default_rng((ord(sample["sequence"]), sample["frame"]))
    boxes = truth.boxes[truth.frames == sample["frame"]]
    boxes = np.concatenate([boxes[rng.random(len(boxes)) < 0.85], [[90, 70, 110, 90]]])
    boxes = torch.from_numpy(boxes + rng.normal(0, 1.0, boxes.shape)).float()
    found = Instances((96, 128), boxes, torch.zeros(len(boxes), dtype=torch.int64), torch.full((len(boxes),), 0.9))
    return {"instances": found, "embeddings": torch.eye(4)[: len(boxes)]}


def feed(evaluator: MotEvaluator, data: TrackedFrames, batch_size: int = 4) -> None:
    for batch in build_test_loader(data, [], batch_size, num_workers=0):
        evaluator.process(batch, [detect(sample) for sample in batch])


def test_equals_the_score_of_saved_results(tmp_path: Path) -> None:
    data = frames_of()
    for number, name in enumerate(LENGTHS):
        write_mot_ground_truth(tmp_path / name / "gt" / "gt.txt", data.read_ground_truth(number))
    evaluator = MotEvaluator(data, Tracker(ByteTrack()), output_dir=tmp_path / "out")
    assert isinstance(evaluator, Evaluator)
    feed(evaluator, data, 5)
    metrics = evaluator.evaluate()
    cases = match_results(find_mot_sequences(tmp_path, names=list(LENGTHS)), tmp_path / "out" / "tracks")
    expected = evaluate_tracking(cases, MOT15)["pedestrian"][COMBINED].metrics()
    assert 20 < metrics["mot/IDF1"] < 99
    for name in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR"):
        assert metrics[f"mot/{name}"] == pytest.approx(100 * expected[name], abs=0.01)  # files hold 3 decimals
    for name, key in (("FP", "CLR_FP"), ("FN", "CLR_FN"), ("IDSW", "IDSW"), ("MT", "MT"), ("tracks", "GT_IDs")):
        assert metrics[f"mot/{name}"] == expected[key]
    saved = json.loads((tmp_path / "out" / "mot.json").read_text())
    assert saved["pedestrian"]["COMBINED"]["IDF1"] == pytest.approx(metrics["mot/IDF1"] / 100)
    evaluator.reset()
    with pytest.raises(ValueError, match="no image was processed"):
        evaluator.evaluate()


def test_a_tracker_begins_anew_with_each_sequence() -> None:
    resets, given = [], []

    class Recording(Tracker):
        def reset(self, frame_rate: float | None = None) -> None:
            resets.append(frame_rate)
            super().reset(frame_rate)

        def update(self, objects, frame=None, warp=None, embeddings=None):  # type: ignore[no-untyped-def, override]
            given.append(embeddings)
            return super().update(objects, frame, warp, embeddings)

    data = frames_of()
    feed(MotEvaluator(data, Recording(BoTSORT())), data)
    assert resets == [30.0, 10.0, 10.0, 10.0]
    assert all(vectors is not None for vectors in given)
    given.clear()
    feed(MotEvaluator(data, Recording(ByteTrack())), data)
    assert all(vectors is None for vectors in given)


def test_classes_of_a_protocol() -> None:
    """KITTI's pedestrian is class 4, the model's class 0 here; results of other classes would not count."""
    data = frames_of("a", Categories((4,), ("pedestrian",)))
    evaluator = MotEvaluator(data, Tracker(ByteTrack()), KITTI)
    feed(evaluator, data)
    metrics = evaluator.evaluate()
    assert metrics["mot/pedestrian/tracks"] == 2
    assert metrics["mot/car/tracks"] == 0


def test_whole_sequences_in_order() -> None:
    data = frames_of()
    evaluator = MotEvaluator(data, Tracker(ByteTrack()))
    sample = {"sequence": "a", "frame": 0}
    evaluator.process([sample], [detect(sample)])
    for other in ({"sequence": "a", "frame": 2}, {"sequence": "b", "frame": 1}):
        with pytest.raises(ValueError, match=r"does not follow the frame before it: a process needs whole sequences"):
            evaluator.process([other], [detect(other)])
    with pytest.raises(ValueError, match=r"8 frames of sequence a have no result: 1, 2, .*predict every frame"):
        evaluator.evaluate()
    with pytest.raises(ValueError, match="sequence z is not in toys; loader and evaluator must use the same data"):
        evaluator.process([{"sequence": "z", "frame": 0}], [{}])
    bad = detect(sample)
    bad["instances"].boxes[0] = float("nan")
    with pytest.raises(ValueError, match=r"sequence a, frame 0: detection 0: .* is not finite"):
        evaluator.process([sample], [bad])
    evaluator.reset()
    for frame in range(LENGTHS["c"]):  # the others take no part
        sample = {"sequence": "c", "frame": frame}
        evaluator.process([sample], [detect(sample)])
    assert evaluator.evaluate()["mot/tracks"] == 2


def test_more_classes_than_the_data_has() -> None:
    data = frames_of("c", Categories((1,), ("disc",)))
    evaluator = MotEvaluator(data, Tracker(ByteTrack()))
    for batch in build_test_loader(data, [], 4, num_workers=0):
        outputs = [detect(sample) for sample in batch]
        for output in outputs:
            output["instances"].classes[:] = 3
        evaluator.process(batch, outputs)
    with pytest.raises(ValueError, match=r"predicts class 3 \(counted from 0\) but toys has 1 class"):
        evaluator.evaluate()


def _process(rank: int, root: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(root / "store"), 2), rank=rank, world_size=2)
    data = frames_of()
    evaluator = MotEvaluator(data, Tracker(ByteTrack()), output_dir=root / "shared")
    feed(evaluator, data)
    assert 0 < len(evaluator._shard) < len(data)
    (root / f"metrics{rank}.json").write_text(json.dumps(evaluator.evaluate()))
    dist.destroy_process_group()


def test_processes_share_the_sequences(tmp_path: Path) -> None:
    data = frames_of()
    alone = MotEvaluator(data, Tracker(ByteTrack()))
    feed(alone, data)
    expected = alone.evaluate()
    (tmp_path / "shared").mkdir()
    mp.start_processes(_process, (tmp_path,), nprocs=2, start_method="fork")
    for rank in range(2):
        assert json.loads((tmp_path / f"metrics{rank}.json").read_text()) == expected
