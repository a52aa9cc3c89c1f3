"""What the loader feeds, drawn; and the tool that does it."""

import cv2
import numpy as np
import pytest
import torch

from pe_dense.data.scenes import write_scenes
from pe_dense.structures import Instances
from pe_dense.visualization.samples import draw_sample, visualize_batches

CONFIG = """
from pe_dense.config import LazyCall as L
from pe_dense.data import CocoDataset, RandomFlip, build_test_loader, build_train_loader

train = L(CocoDataset)(json_file="{train_json}", image_root="{train_images}", skip_empty=True)
val = L(CocoDataset)(json_file="{val_json}", image_root="{val_images}")
dataloader = dict(
    train=L(build_train_loader)(dataset=train, transforms=[L(RandomFlip)()], batch_size=2, num_workers=2, seed=0),
    test=L(build_test_loader)(dataset=val, transforms=[], batch_size=1, num_workers=2),
)
del train, val
"""


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


@pytest.mark.parametrize("split", ["train", "test"])
def test_tool(split, tmp_path, run_tool):
    paths = write_scenes(tmp_path, train=4, val=2, size=64, videos=0)
    config = tmp_path / "config.py"
    config.write_text(CONFIG.format(**vars(paths)))
    picture = tmp_path / "sheet.png"
    arguments = ["--config-file", config, "--split", split, "--num", 2, "--output", picture]
    assert run_tool("visualize_data", *arguments) == 0
    assert cv2.imread(str(picture)).std() > 10
    assert run_tool("visualize_data", *arguments, "dataloader.nonsense=1") == 2


def test_the_tool_draws_ground_truth_of_the_test_split(tmp_path):
    image = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    instances = Instances((64, 64), torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]))
    picture = draw_sample({"image": image, "instances": instances}, ["a", "b"])[0]
    assert not np.all(picture == 128)
