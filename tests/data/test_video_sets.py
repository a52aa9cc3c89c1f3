"""DAVIS and YouTube-VOS as they are downloaded."""

import json

import numpy as np
import pytest

from pe_dense.data import DAVIS2016, DAVIS2017, DataError, YouTubeVOS, open_video_set
from pe_dense.data.scenes import write_scenes

from .test_video_sequences import mask, write_images, write_masks


def davis(root, year, resolution="480p", names=("cat", "dog"), split="val"):
    for name in names:
        write_masks(root / "Annotations" / resolution / name, f00000=mask(1, 2), f00001=mask(1))
        write_images(root / "JPEGImages" / resolution / name, "00000", "00001")
    (root / "ImageSets" / year).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / year / f"{split}.txt").write_text("dog\n")


def test_davis_2017(tmp_path):
    davis(tmp_path, "2017")
    davis(tmp_path, "2017", "Full-Resolution")
    for resolution in ("480p", "Full-Resolution"):
        (dog,) = DAVIS2017(tmp_path, resolution=resolution)
        assert (dog.name, dog.frames, dog.objects) == ("dog", ("00000", "00001"), {1: "00000", 2: "00000"})
        assert resolution in dog.images["00000"]
        assert resolution in dog.annotations["00000"]
    assert len(DAVIS2017(tmp_path, split=None)) == 2
    assert not DAVIS2017(tmp_path).scores_last_frame


def test_davis_2016_is_foreground(tmp_path):
    davis(tmp_path, "2016")
    (dog,) = DAVIS2016(tmp_path)
    np.testing.assert_array_equal(dog.read_labels("00000"), mask(1, 1))
    assert dog.objects == {1: "00000"}
    (tmp_path / "ImageSets" / "2016" / "val.txt").unlink()
    davis(tmp_path, "480p")
    (tmp_path / "ImageSets" / "480p" / "val.txt").write_text("/JPEGImages/480p/cat/0.jpg /Annotations/480p/cat/0.png\n")
    assert [s.name for s in DAVIS2016(tmp_path)] == ["cat"]


def test_real_sequences(real_data):
    data = DAVIS2016(real_data / "davis2016_val", split=None)
    assert [(s.name, len(s.frames), len(s.annotations)) for s in data] == [
        ("blackswan", 50, 50), ("car-shadow", 40, 40), ("libby", 49, 49),
    ]  # fmt: skip
    labels = data[0].read_labels("00000")
    assert labels.shape == data[0].read_image("00000").shape[:2] == (480, 854)
    assert set(np.unique(labels)) == {0, 1}


def test_embedded_scenes(tmp_path):
    paths = write_scenes(tmp_path, train=1, val=1, size=64, videos=1)
    (scene,) = DAVIS2017(paths.davis)
    assert len(scene.annotations) == len(scene.images) > 2
    assert scene.objects


def test_davis_faults(tmp_path):
    davis(tmp_path, "2017")
    with pytest.raises(FileNotFoundError, match=r"train.txt does not exist, the list of split 'train'.*--split all"):
        DAVIS2017(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match=r"1080p does not exist \(there is 480p\)"):
        DAVIS2017(tmp_path, resolution="1080p")
    (tmp_path / "ImageSets" / "2017" / "val.txt").write_text("dog\ncow\npig\n")
    with pytest.raises(DataError, match="no folder of the sequence cow, pig"):
        DAVIS2017(tmp_path)


@pytest.fixture
def youtube(tmp_path):
    write_masks(tmp_path / "Annotations" / "v1", f00000=mask(1), f00005=mask(1, 4), f00010=mask(4, 255))
    write_masks(tmp_path / "Annotations" / "v2", f00020=mask(2))
    write_images(tmp_path / "JPEGImages" / "v1", *(f"{t:05d}" for t in range(12)))
    write_images(tmp_path / "JPEGImages" / "v2", "00020", "00025")
    return tmp_path


def write_meta(path, **videos):
    content = {
        name: {"objects": {k: {"category": category, "frames": frames} for k, (category, frames) in objects.items()}}
        for name, objects in videos.items()
    }
    path.write_text(json.dumps({"videos": content}))


def test_youtube_vos_without_meta(youtube):
    data = YouTubeVOS(youtube)
    assert data.scores_last_frame
    assert [s.objects for s in data] == [{1: "00000", 4: "00005"}, {2: "00020"}]
    assert len(data[0].frames) == 12
    assert [s.name for s in YouTubeVOS(youtube, ["v2"])] == ["v2"]
    with pytest.raises(FileNotFoundError, match=r"meta.json does not exist, so no category is known"):
        YouTubeVOS(youtube, train_meta=youtube / "train.json")


def test_youtube_vos_meta(youtube):
    write_meta(
        youtube / "meta.json",
        v1={"1": ("dog", ["00000", "00005"]), "4": ("yak", ["00010", "00005"])},
        v2={"2": ("dog", ["00020"])},
        other={"1": ("cow", ["00000"])},
    )
    data = YouTubeVOS(youtube)
    assert [(s.objects, s.seen) for s in data] == [({1: "00000", 4: "00005"}, {}), ({2: "00020"}, {})]
    write_meta(youtube / "train.json", x={"1": ("dog", [])})
    assert [s.seen for s in YouTubeVOS(youtube, train_meta=youtube / "train.json")] == [{1: True, 4: False}, {2: True}]


def test_frames_that_are_asked_for(youtube):
    """Those of ``meta.json``, and the annotated ones; more images change nothing about it."""
    assert YouTubeVOS(youtube)[0].wanted == YouTubeVOS(youtube)[0].frames
    with_more = YouTubeVOS(youtube, images=youtube / "JPEGImages")
    assert with_more[0].asked == frozenset(with_more[0].frames)
    frames = ["00000", "00005", "00011"]
    write_meta(youtube / "meta.json", v1={"1": ("dog", frames), "4": ("yak", ["00005"])}, v2={"2": ("dog", ["00020"])})
    first = YouTubeVOS(youtube)[0]
    assert first.asked == frozenset(frames)
    assert set(first.wanted) == set(frames) | first.annotations.keys()


def test_sets_by_the_name_of_their_kind(youtube):
    assert isinstance(open_video_set("youtube-vos", youtube), YouTubeVOS)
    assert len(open_video_set("youtube-vos", youtube, sequences=["v2"])) == 1
    own = open_video_set("folder", youtube / "Annotations", images=youtube / "JPEGImages", sequences=["v1"])
    assert own[0].images
    with pytest.raises(ValueError, match='"coco" is none of davis2017, davis2016, youtube-vos, folder'):
        open_video_set("coco", youtube)
    with pytest.raises(ValueError, match=r"DAVIS has its images below .*: leave them out"):
        open_video_set("davis2016", youtube, images=youtube / "JPEGImages")


def test_youtube_vos_faults(youtube):
    meta = youtube / "meta.json"
    write_meta(meta, v1={"1": ("dog", ["00000"])})
    with pytest.raises(DataError, match="does not list 1 sequence: v2;"):
        YouTubeVOS(youtube)
    write_meta(meta, v1={"1": ("dog", ["00001"]), "4": ("yak", [])}, v2={"2": ("dog", ["00020"])})
    with pytest.raises(DataError, match="no mask of the first frame of 2 objects: v1, object 1, v1, object 4"):
        YouTubeVOS(youtube)
    for text in ("[]", "{", '{"videos": {"v1": 3}}'):
        meta.write_text(text)
        with pytest.raises(DataError, match=r"meta.json is no list of objects"):
            YouTubeVOS(youtube)
