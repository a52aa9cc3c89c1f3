import torch

from pe_dense.structures import ImageBatch


def test_pads_bottom_right_to_the_divisor():
    images = [torch.ones(3, 5, 9), torch.ones(3, 8, 4)]
    batch = ImageBatch.from_images(images, divisor=4, value=-1.0)
    assert batch.tensor.shape == (2, 3, 8, 12)
    assert batch.sizes == [(5, 9), (8, 4)]
    assert (batch.tensor[0, :, :5, :9] == 1).all()
    assert (batch.tensor[0, :, 5:] == -1).all()
    assert (batch.tensor[1, :, :, 4:] == -1).all()


def test_square():
    assert ImageBatch.from_images([torch.ones(3, 5, 9)], divisor=4, square=16).tensor.shape == (1, 3, 16, 16)
    assert ImageBatch.from_images([torch.ones(3, 5, 21)], divisor=4, square=16).tensor.shape == (1, 3, 16, 24)
