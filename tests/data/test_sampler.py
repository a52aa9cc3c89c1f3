"""Which images make up which batch."""

from itertools import pairwise

import numpy as np
import pytest

from pe_dense.data.sampler import RepeatFactorSampler, TrainSampler, shard, shard_clips


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


FACTORS = np.array([1.0, 2.5, 1.0, 1.2, 3.0, 1.0, 1.0])


def test_repeated_images_come_as_often_as_their_factor_says():
    sampler = RepeatFactorSampler(FACTORS, 4, seed=3)
    sampler.image(20_000)  # all epochs up to there are known now
    starts = sampler._starts[:1001]
    stream = [sampler.image(p) for p in range(starts[-1])]
    counts = np.array([np.bincount(stream[a:b], minlength=7) for a, b in pairwise(starts)])
    assert ((counts == np.floor(FACTORS)) | (counts == np.ceil(FACTORS))).all()
    np.testing.assert_allclose(counts.mean(axis=0), FACTORS, atol=0.05)
    assert len({tuple(stream[a:b]) for a, b in pairwise(starts[:50])}) == 49


def test_a_step_with_repeats_needs_no_history():
    stream = _images(RepeatFactorSampler(FACTORS, 3, seed=1), range(40))
    jumps = _images(RepeatFactorSampler(FACTORS, 3, seed=1), [33, 2, 39])
    assert jumps == stream[99:102] + stream[6:9] + stream[117:120]
    assert _images(RepeatFactorSampler(FACTORS, 3, seed=2), range(40)) != stream


def test_processes_share_each_batch_of_repeats():
    whole = RepeatFactorSampler(FACTORS, 6, seed=5)
    ranks = [RepeatFactorSampler(FACTORS, 6, seed=5, rank=r, world_size=3) for r in range(3)]
    for step in range(8):
        positions = [p for r in ranks for p in r.positions(step)]
        assert positions == list(range(6 * step, 6 * step + 6))
        assert [i for r in ranks for i in _images(r, [step])] == _images(whole, [step])


def test_without_repeats_the_order_is_the_plain_one():
    plain = _images(TrainSampler(9, 4, seed=3), range(9))
    assert _images(RepeatFactorSampler(np.ones(9), 4, seed=3), range(9)) == plain


def test_a_late_step_of_lvis_is_found_at_once():
    """Epoch 88 of 100,170 images needs the lengths of those before it, not their orders."""
    factors = np.random.default_rng(0).choice([1.0, 1.37, 4.8], 100_170, p=[0.7, 0.2, 0.1])
    sampler = RepeatFactorSampler(factors, 64, seed=0)
    assert 0 <= sampler.image(64 * 138_280) < 100_170
    assert len(sampler._starts) < 100
