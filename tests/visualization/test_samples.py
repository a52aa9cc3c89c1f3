"""What the loader feeds, drawn; and the tool that does it."""

import numpy as np
import pytest
import torch

from pe_dense.structures import Instances
from pe_dense.visualization import contact_sheet, instances, legends, samples
from pe_dense.visualization.samples import draw_sample, visualize_batches


def sample(**more):
    return {"image": torch.zeros(3, 40, 50, dtype=torch.uint8), "file_name": "a/b.jpg", **more}


def test_each_kind_of_truth_has_its_picture(tmp_path):
    instances = Instances((40, 50), torch.tensor([[1.0, 1, 20, 20]]), torch.tensor([0]))
    full = sample(instances=instances, depth=torch.ones(40, 50), sem_seg=torch.zeros(40, 50, dtype=torch.int64))
    assert len(draw_sample(sample())) == 1
    assert len(draw_sample(full, ["thing"])) == 3
    assert visualize_batches([[sample(), full], [sample()]], tmp_path / "x.png", num=2) == 2
    with pytest.raises(ValueError, match="num is 0"):
        visualize_batches([[sample()]], tmp_path / "x.png", num=0)


def test_ground_truth_is_drawn():
    image = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    instances = Instances((64, 64), torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]))
    picture = draw_sample({"image": image, "instances": instances}, ["a", "b"])[0]
    assert not np.all(picture == 128)


@pytest.mark.parametrize("size", [(3000, 4000), (60, 80), (1500, 500), (300, 1800)])
def test_text_is_of_the_same_size_in_all_pictures(size, monkeypatch):
    sizes = []
    monkeypatch.setattr(instances, "draw_labels", lambda image, labels, size: sizes.append(size) or image)
    found = Instances(size, torch.tensor([[1.0, 1, 20, 20]]), torch.tensor([0]))
    picture = draw_sample(sample(image=torch.zeros(3, *size, dtype=torch.uint8), instances=found), width=480)[0]
    assert picture.shape[1] == 480 or picture.shape[0] == 720
    assert 12 <= sizes[0] <= 14
    assert contact_sheet([picture], cell=480).shape[1] == 480 + 12  # not scaled again, text included


def test_colours_of_objects():
    objects = Instances((40, 50), torch.tensor([[1.0, 1, 20, 20], [25, 1, 45, 20]]), torch.tensor([0, 0]))
    shown = [draw_sample(sample(instances=objects), ["x"], color_by=c)[0] for c in ("class", "instance")]
    assert not np.array_equal(*shown)


def test_semantic_classes_are_named_once(tmp_path, monkeypatch):
    named = []
    monkeypatch.setattr(samples, "class_strip", lambda *a, **k: named.append(a[:2]) or legends.class_strip(*a, **k))
    labels = torch.ones(40, 50, dtype=torch.int64)
    labels[:10], labels[10:11] = 0, 255
    batch = [sample(sem_seg=labels), sample(sem_seg=labels), sample()]
    visualize_batches([batch], tmp_path / "labels.png", label_names=["a", "b", "absent"])
    visualize_batches([[sample()]], tmp_path / "image.png", label_names=["a"])
    assert named == [([1, 0], ["a", "b", "absent"])]
