"""Which images make up which batch."""

import numpy as np
import pytest

from pe_dense.data.sampler import TrainSampler, shard, shard_clips


def _images(sampler, steps):
    return [sampler.image(p) for step in steps for p in sampler.positions(step)]


def test_each_epoch_is_a_permutation():
    sampler = TrainSampler(10, 4, seed=3)
    stream = _images(sampler, range(15))
    epochs = [stream[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(e) == list(range(10)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == 6


def test_a_step_needs_no_history():
    stream = _images(TrainSampler(7, 3, seed=1), range(20))
    assert _images(TrainSampler(7, 3, seed=1), [13, 2, 19]) == stream[39:42] + stream[6:9] + stream[57:60]
    assert _images(TrainSampler(7, 3, seed=2), range(20)) != stream


def test_processes_share_each_batch():
    whole = TrainSampler(11, 6, seed=5)
    ranks = [TrainSampler(11, 6, seed=5, rank=r, world_size=3) for r in range(3)]
    for step in range(8):
        assert [i for r in ranks for i in _images(r, [step])] == _images(whole, [step])
    position = ranks[2].positions(4)[1]
    assert ranks[2].generator(position).random() == whole.generator(position).random()


def test_random_numbers_differ_between_positions_and_seeds():
    draws = {TrainSampler(5, 1, seed=s).generator(p).random() for s in range(3) for p in range(50)}
    assert len(draws) == 150


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4), "no images"),
        ((5, 4, 0, 0, 3), "multiple of their number, 3"),
        ((5, 0), "positive"),
        ((5, 1, -1), "seed"),
    ],
)
def test_unusable_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainSampler(*arguments)


@pytest.mark.parametrize(("count", "world"), [(10, 3), (2, 4), (0, 2), (8, 1)])
def test_shards_cover_each_image_once(count, world):
    parts = [shard(count, rank, world) for rank in range(world)]
    assert [i for part in parts for i in part] == list(range(count))
    assert np.ptp([len(p) for p in parts]) <= 1


@pytest.mark.parametrize("lengths", [[5, 1, 1, 9, 4], [3], [1, 1], [100, 1, 1, 1]])
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shards_of_clips_are_whole(lengths, world):
    bounds = np.cumsum([0, *lengths])
    parts = [shard_clips(bounds, rank, world) for rank in range(world)]
    assert [i for part in parts for i in part] == list(range(bounds[-1]))
    assert all({part.start, part.stop} <= set(bounds.tolist()) for part in parts)
    assert max(map(len, parts)) <= bounds[-1] / world + max(lengths)
