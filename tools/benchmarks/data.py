"""Speed of large-scale-jitter loading and memory of annotations.

``run`` is called by ``tools/benchmark.py``; run as a script, this file is a process whose memory is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import torch
import torchvision
from pycocotools import mask as coco_mask
from torchvision import tv_tensors
from torchvision.transforms import v2

from pe_dense.data import CocoDataset, LargeScaleJitter, MappedDataset, RandomFlip

SIZE = 1024


def run(quick: bool) -> list[dict[str, Any]]:
    """Measure; ``quick`` takes smaller inputs and fewer repeats.

    Returns:
        Rows with the keys what, against, ours, theirs, ratio, target, unit, note.
    """
    with tempfile.TemporaryDirectory() as folder:
        previous = os.environ.get("PE_DENSE_CACHE")
        os.environ["PE_DENSE_CACHE"] = str(Path(folder, "cache"))
        try:
            return [_loading(Path(folder), quick), *_memory(Path(folder), quick)]
        finally:
            os.environ.pop("PE_DENSE_CACHE")
            if previous is not None:
                os.environ["PE_DENSE_CACHE"] = previous


def _loading(folder: Path, quick: bool) -> dict[str, Any]:
    images, repeats = (16, 3) if quick else (64, 9)
    dataset = _write_scenes(folder, images)
    ours = {pad: MappedDataset(dataset, [RandomFlip(), LargeScaleJitter(SIZE, pad=pad)]) for pad in (True, False)}
    theirs = _TorchvisionSamples(dataset)
    threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    times: dict[str, list[float]] = {"padded": [], "unpadded": [], "torchvision": []}
    try:
        for repeat in range(repeats + 1):  # the first one warms up
            for name, samples in (("padded", ours[True]), ("torchvision", theirs), ("unpadded", ours[False])):
                torch.manual_seed(repeat)
                start = time.perf_counter()
                for i in range(images):
                    samples.sample(i, np.random.default_rng((repeat, i)))
                times[name].append((time.perf_counter() - start) / images)
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv2_threads)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    return {
        "what": f"LSJ loading, {SIZE} px, one worker",
        "against": f"torchvision {torchvision.__version__} v2 transforms",
        "ours": 1 / medians["padded"],
        "theirs": 1 / medians["torchvision"],
        "ratio": medians["torchvision"] / medians["padded"],
        "target": 2.0,
        "unit": "images/s",
        "note": f"640 x 480 JPEG, 7 polygon objects, padded to {SIZE}; with padding left to the model, as the recipes "
        f"do, {1 / medians['unpadded']:.0f} images/s",
    }


class _TorchvisionSamples:
    """The same job with torchvision's transforms, following its detection reference."""

    def __init__(self, dataset: CocoDataset) -> None:
        content = orjson.loads(dataset.json_file.read_bytes())
        self.rows = content["images"]
        self.root = dataset.image_root
        self.objects: dict[int, list[dict[str, Any]]] = {row["id"]: [] for row in self.rows}
        for annotation in content["annotations"]:
            self.objects[annotation["image_id"]].append(annotation)
        self.transform = v2.Compose(
            [
                v2.ScaleJitter((SIZE, SIZE), scale_range=(0.1, 2.0), antialias=True),
                v2.RandomCrop(SIZE, pad_if_needed=True),
                v2.RandomHorizontalFlip(),
                v2.ClampBoundingBoxes(),
                v2.SanitizeBoundingBoxes(),
            ]
        )

    def sample(self, index: int, rng: np.random.Generator) -> Any:
        row = self.rows[index]
        image = tv_tensors.Image(torchvision.io.decode_image(str(self.root / row["file_name"]), mode="RGB"))
        objects = self.objects[row["id"]]
        boxes = torch.tensor([o["bbox"] for o in objects], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        masks = torch.stack([_polygon_mask(o["segmentation"], row["height"], row["width"]) for o in objects])
        target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(row["height"], row["width"])),
            "masks": tv_tensors.Mask(masks),
            "labels": torch.tensor([o["category_id"] for o in objects]),
        }
        return self.transform(image, target)


def _polygon_mask(polygons: list[list[float]], height: int, width: int) -> torch.Tensor:
    mask = coco_mask.decode(coco_mask.frPyObjects(polygons, height, width))
    return torch.as_tensor(mask, dtype=torch.uint8).any(dim=2)


def _write_scenes(folder: Path, images: int) -> CocoDataset:
    """Smooth random pictures of photographs' JPEG size, with about seven blobs each."""
    rng = np.random.default_rng(0)
    root = folder / "images"
    root.mkdir()
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "blob"}]}
    for number in range(images):
        noise = cv2.resize(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8), (640, 480))
        grain = rng.integers(-12, 13, noise.shape)
        picture = np.clip(noise + grain, 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
        content["images"].append({"id": number, "file_name": f"{number}.jpg", "height": 480, "width": 640})
        for _ in range(int(rng.integers(5, 10))):
            content["annotations"].append(_blob(rng, number, len(content["annotations"]) + 1))
    json_file = folder / "scenes.json"
    json_file.write_bytes(orjson.dumps(content))
    return CocoDataset(json_file, root)


def _blob(rng: np.random.Generator, image: int, number: int) -> dict[str, Any]:
    radius = np.exp(rng.uniform(np.log(12), np.log(180)))
    angles = np.linspace(0, 2 * np.pi, int(rng.integers(10, 34)), endpoint=False)
    radii = radius * rng.uniform(0.7, 1, len(angles))
    centre = rng.uniform([0, 0], [640, 480])
    points = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    points = np.clip(points, 0, [640, 480]).round(2)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    box = [float(v) for v in (x0, y0, x1 - x0, y1 - y0)]
    segmentation = [points.reshape(-1).tolist()]
    return {"id": number, "image_id": image, "category_id": 1, "bbox": box, "segmentation": segmentation, "iscrowd": 0}


def _memory(folder: Path, quick: bool) -> list[dict[str, Any]]:
    images, objects = (6_000, 43_000) if quick else (118_287, 860_001)
    _write_annotations(folder / "large.json", images, objects)
    _write_annotations(folder / "tiny.json", 10, 20)
    _child(folder / "tiny.json", 0)  # fills the tiny file's cache
    first = _child(folder / "large.json", 8)
    second = {workers: _child(folder / "large.json", workers) for workers in (0, 8)}
    base = {workers: _child(folder / "tiny.json", workers) for workers in (0, 8)}
    ours, theirs = (second[w]["megabytes"] - base[w]["megabytes"] for w in (8, 0))
    size = f"{images:,} images, {objects:,} objects, json of {(folder / 'large.json').stat().st_size / 1e6:.0f} MB"
    return [
        {
            "what": "annotation memory, 8 workers",
            "against": "one process",
            "ours": ours,
            "theirs": theirs,
            "ratio": ours / theirs,
            "target": 1.1,
            "unit": "MB",
            "note": f"{size}; proportional set size, less that of a tiny json; "
            f"at the first start, which parses: {first['megabytes'] - base[8]['megabytes']:.0f} MB",
        },
        {
            "what": "annotation start, cached",
            "against": "first start",
            "ours": second[0]["seconds"],
            "theirs": first["seconds"],
            "ratio": first["seconds"] / second[0]["seconds"],
            "target": None,
            "unit": "s",
            "note": size,
        },
    ]


def _write_annotations(json_file: Path, images: int, objects: int) -> None:
    """A json of COCO train2017's proportions: 43 polygon coordinates per object, 1 % crowds with run lengths."""
    rng = np.random.default_rng(0)
    rows = [{"id": i * 5, "file_name": f"{i * 5:012d}.jpg", "height": 480, "width": 640} for i in range(images)]
    crowd = {"size": [480, 640], "counts": [1000, 500] * 120 + [480 * 640 - 180_000]}
    points = 2 * np.clip(rng.geometric(1 / 19, objects) + 2, 3, 300)
    coordinates = (rng.uniform(0, 460, int(points.sum())).round(2)).tolist()
    ends = np.cumsum(points).tolist()
    image_of = (rng.integers(0, images, objects) * 5).tolist()
    annotations = [
        {
            "segmentation": [coordinates[end - count : end]] if n % 100 else crowd,
            "area": 702.1,
            "iscrowd": int(n % 100 == 0),
            "image_id": image,
            "bbox": [10.25, 20.5, 300.75, 100.25],
            "category_id": n % 80 + 1,
            "id": n + 1,
        }
        for n, (image, end, count) in enumerate(zip(image_of, ends, points.tolist()))
    ]
    categories = [{"id": i + 1, "name": f"class {i + 1}"} for i in range(80)]
    json_file.write_bytes(orjson.dumps({"images": rows, "annotations": annotations, "categories": categories}))


def _child(json_file: Path, workers: int) -> dict[str, float]:
    """Load a json in a fresh process, without settings that keep freed memory."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, __file__, str(json_file), str(workers)]
    answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer)


def _measure(json_file: Path, workers: int) -> dict[str, float]:
    """Seconds to load, and memory of this process and its workers after each has read every annotation array."""
    start = time.perf_counter()
    dataset = CocoDataset(json_file, json_file.parent, skip_empty=True)
    seconds = time.perf_counter() - start
    context = multiprocessing.get_context("fork")
    ready, finish = context.Semaphore(0), context.Event()
    children = [context.Process(target=_worker, args=(dataset, ready, finish)) for _ in range(workers)]
    for child in children:
        child.start()
    _read_all(dataset)
    for _ in children:
        ready.acquire()
    megabytes = sum(_pss(pid) for pid in [os.getpid(), *(c.pid for c in children)])
    finish.set()
    for child in children:
        child.join()
    return {"seconds": seconds, "megabytes": megabytes}


def _worker(dataset: CocoDataset, ready: Any, finish: Any) -> None:
    _read_all(dataset)
    ready.release()
    finish.wait()


def _read_all(dataset: CocoDataset) -> None:
    for name in sorted(dataset.table.arrays):
        dataset.table.arrays[name].max(initial=0)
    for index in range(0, len(dataset), 50):
        dataset.annotations(index)


def _pss(pid: int | None) -> float:
    """Proportional set size in MB of a process's own memory and of the mapped annotations.

    Pages that n processes share count 1/n in each. Program libraries are left out: their share depends on what else
    runs on the machine.
    """
    total, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        field, _, rest = line.partition(":")
        if "-" in field:  # a mapping begins: addresses, rights, offset, device, inode and perhaps a file
            file = line.split(maxsplit=5)[5:]
            counts = not file or not file[0].startswith("/") or file[0].endswith(".safetensors")
        elif field == "Pss" and counts:
            total += int(rest.split()[0])
    return total * 1024 / 1e6


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]))))
