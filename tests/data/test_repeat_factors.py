"""Repeat factors against their definition, and the loader that uses them."""

import itertools
import json
import math

import numpy as np
import pytest

from pe_dense.data import CocoDataset, ImageFolder, RandomFlip, build_train_loader
from pe_dense.data.repeat_factors import repeat_factors


@pytest.fixture
def dataset(content, write):
    """Twelve images: class 90 in all but two of them, class 2 in three; a crowd; objects out of order."""
    row, crowd = content["annotations"]
    content["images"] = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in range(30, 18, -1)]
    classes = {30: [90, 2], 29: [90, 90, 90], 28: [2], 27: [2, 2, 90], 19: []}
    ids = [i["id"] for i in content["images"]]
    rows = [{**row, "image_id": i, "category_id": c} for i in ids for c in classes.get(i, [90])]
    content["annotations"] = [{**r, "id": n} for n, r in enumerate(rows[::-1])]
    content["annotations"].append({**crowd, "id": 99, "image_id": 25})
    path = write(content)
    return CocoDataset(path, path.parent)


def direct(dataset, threshold):
    """The definition, image by image."""
    found = []
    for i in range(len(dataset)):
        objects = dataset.annotations(i)
        found.append(set(objects.classes[~objects.crowd].tolist()))
    share = {c: sum(c in f for f in found) / len(found) for c in set().union(*found)}
    return [max((max(1.0, math.sqrt(threshold / share[c])) for c in f), default=1.0) for f in found]


@pytest.mark.parametrize("threshold", [0.001, 0.3, 0.9, 1])
def test_factors_by_their_definition(dataset, threshold):
    np.testing.assert_allclose(repeat_factors(dataset, threshold), direct(dataset, threshold))
    part = dataset.select([30, 25, 27, 19])
    np.testing.assert_allclose(repeat_factors(part, threshold), direct(part, threshold))


def test_rare_classes_are_repeated(dataset):
    assert repeat_factors(dataset, 0.9)[0] == pytest.approx(math.sqrt(0.9 / 0.25))
    assert repeat_factors(dataset, 0.001).tolist() == [1] * 12


def test_factors_of_a_real_lvis_json(real_data, tmp_path, caplog):
    caplog.set_level("INFO")
    dataset = CocoDataset(real_data / "coco_eval_val2014_100" / "lvis_val_100.json", tmp_path, skip_empty=True)
    factors = repeat_factors(dataset, 0.05)
    np.testing.assert_allclose(factors, direct(dataset, 0.05))
    assert factors.max() == pytest.approx(math.sqrt(0.05 * len(dataset)))
    assert "repeating images of classes in fewer than 5 % of them" in caplog.text


def test_batches_depend_on_seed_and_step_only(dataset):
    def ids(start, count, **options):
        loader = build_train_loader(dataset, [RandomFlip()], 4, **{"num_workers": 0, "seed": 3} | options)
        stream = loader.iterate(start)
        taken = [[(s["image_id"], s["image"].sum().item()) for s in batch] for batch in itertools.islice(stream, count)]
        stream.close()
        return taken

    expected = ids(0, 9, repeat_threshold=0.9)
    assert ids(6, 3, repeat_threshold=0.9) == expected[6:]
    assert ids(6, 3, repeat_threshold=0.9, num_workers=1) == expected[6:]
    assert ids(0, 9) != expected
    assert ids(0, 9, repeat_threshold=0.001) == ids(0, 9)
    seen = [image_id for batch in expected for image_id, _ in batch]
    assert sum(i in (30, 28, 27) for i in seen) / len(seen) > 0.3  # of 3 in 12 images


def test_epochs_count_each_image_once(dataset):
    assert build_train_loader(dataset, [], 4, repeat_threshold=0.9).steps_per_epoch == 3


def test_unusable_settings(dataset, tmp_path):
    for threshold in (0, -1, 1.5):
        with pytest.raises(ValueError, match="is not a share of the images; give"):
            build_train_loader(dataset, [], 4, repeat_threshold=threshold)
    with pytest.raises(ValueError, match="goes by the classes of objects, which a ImageFolder does not tell"):
        build_train_loader(ImageFolder(tmp_path), [], 4, repeat_threshold=0.001)


def test_a_data_set_without_objects(content, write):
    content["annotations"] = []
    path = write(json.loads(json.dumps(content)))
    assert repeat_factors(CocoDataset(path, path.parent), 0.001).tolist() == [1, 1]
