"""Reading and writing videos."""

import logging
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pe_dense.data import DataError
from pe_dense.prediction import VideoReader, VideoWriter, video_io


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mov", ".mkv"])
def test_every_container(tmp_path: Path, write_video: Callable[..., Path], suffix: str) -> None:
    path = write_video(tmp_path / f"a:b %03d ü{suffix}")
    with VideoReader(path) as reader:
        assert (reader.size, reader.expected_frames) == ((48, 64), 9)
        assert reader.fps == pytest.approx(12.5)
        frames = list(reader)
    assert [index for index, _ in frames] == list(range(9))
    for index, frame in frames:  # the bright square moves by two pixels a frame
        columns = np.flatnonzero(frame[8].mean(axis=1) > 128)
        assert abs(int(columns[0]) - 2 * index) <= 1


@pytest.mark.parametrize(("every", "expected"), [(2, [0, 2, 4, 6, 8]), (4, [0, 4, 8]), (5, [0, 5]), (20, [0])])
def test_every_nth_frame(tmp_path: Path, write_video: Callable[..., Path], every: int, expected: list[int]) -> None:
    with VideoReader(write_video(tmp_path / "v.mp4"), every) as reader:
        assert reader.expected_frames == len(expected)
        found = {index: np.flatnonzero(frame[8].mean(axis=1) > 128)[0] for index, frame in reader}
    assert list(found) == expected
    assert all(abs(column - 2 * index) <= 1 for index, column in found.items())


def test_bad_files(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    good = write_video(tmp_path / "good.mp4").read_bytes()
    for name, content in (("empty.mp4", b""), ("cut.mp4", good[: len(good) // 2]), ("text.avi", b"hello" * 99)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"video .*{name} cannot be opened"):
            VideoReader(tmp_path / name)
    with pytest.raises(DataError, match="holds no frame that can be decoded"):
        VideoReader(write_video(tmp_path / "none.avi", frames=0))
    with pytest.raises(FileNotFoundError, match=r"video .*nix.mp4 does not exist"):
        VideoReader(tmp_path / "nix.mp4")
    broken_name = tmp_path / "\udcff.mp4"
    broken_name.write_bytes(good)
    with VideoReader(broken_name) as reader:
        assert len(list(reader)) == 9


def test_odd_and_changing_sizes(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "new folder" / "v.mp4", 29.97) as writer:
        for height, width in ((47, 63), (47, 63), (30, 90)):
            writer.write(np.full((height, width, 3), (250, 10, 10), dtype=np.uint8))
    with VideoReader(writer.path) as reader:
        assert reader.fps == pytest.approx(29.97, rel=1e-5)
        frames = [frame for _, frame in reader]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert all(frame[..., 0].mean() > 200 > 60 > frame[..., 2].mean() for frame in frames)


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").mkdir()
    with pytest.raises(OSError, match=r"video .*v.mp4 cannot be written"), VideoWriter(tmp_path / "v.mp4", 5) as writer:
        writer.write(np.zeros((16, 16, 3), dtype=np.uint8))


TIMES = (0.0, 0.04, 0.08, 0.5, 0.54, 1.0, 1.01)


def plain(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), level, dtype=np.uint8)


def encode(
    path: Path,
    levels: Sequence[int],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    noise: int = 0,
    **options: str,
) -> Path:
    """Frames of 25 per second whose brightness tells which they are, a key frame every 12."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, pix_fmt, 12
        for level in levels:
            grain = rng.integers(-noise, noise + 1, (48, 64, 1))
            image = (plain(level) + grain).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def damage(path: Path, number: int) -> float:
    """Overwrite one packet of a file but for its head; return the time of its frame."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        assert packet.pos is not None
        assert packet.pts is not None
        start, size, time = packet.pos + 5, packet.size - 5, float(packet.pts * packet.time_base)
    content = bytearray(path.read_bytes())
    content[start : start + size] = np.random.default_rng(1).bytes(size)
    path.write_bytes(content)
    return time


LEVELS = range(10, 250, 6)  # 40 frames


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("h264.mp4", "libx264", "yuv420p"), ("b.avi", "mpeg4", "yuv420p"), ("vp8.webm", "libvpx", "yuv420p"),
        ("vp9.webm", "libvpx-vp9", "yuv420p"), ("ten.mkv", "libx264", "yuv420p10le"), ("j.avi", "mjpeg", "yuvj420p"),
        ("ten.mov", "prores_ks", "yuv422p10le"), ("t.ts", "libx264", "yuv420p"), ("raw.h264", "libx264", "yuv420p"),
    ],
)  # fmt: skip
def test_every_codec_frame_by_frame(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    options = {"libvpx": {"auto-alt-ref": "1", "lag-in-frames": "16"}, "mpeg4": {"qmax": "2"}}.get(codec, {})
    path = encode(tmp_path / name, LEVELS, codec, pix_fmt, **options)
    with VideoReader(path) as reader:
        frames = list(reader.frames())
        assert reader.broken == []
    assert [frame.number for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(40) / 25, atol=1.1e-3)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], LEVELS, atol=2.5)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".mov"])
def test_variable_frame_rate(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    with VideoWriter(tmp_path / f"v{suffix}", 25) as writer:
        for number, time in enumerate(TIMES):
            writer.write(plain(20 + 30 * number), 5 + time)
    with VideoReader(writer.path) as reader:
        frames = list(reader.frames())
    np.testing.assert_allclose([frame.time for frame in frames], TIMES, atol=1.1e-3)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], range(20, 230, 30), atol=2.5)
    with av.open(str(writer.path)) as container:
        assert container.duration == pytest.approx((TIMES[-1] + 1 / 25) * av.time_base, rel=0.01)
    assert not caplog.records


def test_avi_repeats_what_stays(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.avi", 25) as writer:
        for number, time in enumerate((0, 0.04, 0.2, 0.24)):
            writer.write(plain(20 + 60 * number), time)
    with VideoReader(writer.path) as reader:
        levels = [round((frame.mean() - 20) / 60) for _, frame in reader]
    assert levels == [0, 1, 1, 1, 1, 2, 3]


def test_times_must_ascend(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.mp4", 25) as writer:
        writer.write(plain(0), 1.0)
        with pytest.raises(ValueError, match=r"must ascend; 1 s comes after 1 s"):
            writer.write(plain(0), 1.0)
        writer.write(plain(0))


@pytest.mark.parametrize("encoders", ["h264", "vp9"])
def test_browsers_play_it(tmp_path: Path, encoders: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if encoders == "vp9":  # a build of FFmpeg without x264
        monkeypatch.setattr(video_io, "_H264", ("none", {}))
    colors = [(250, 10, 10), (10, 240, 20), (20, 30, 245), (255, 255, 255), (0, 0, 0)]
    with VideoWriter(tmp_path / "v.mp4", 30) as writer:
        for color in colors:
            writer.write(np.full((48, 64, 3), color, dtype=np.uint8))
    with av.open(str(writer.path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == (encoders, "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)
    with VideoReader(writer.path) as reader:
        for (_, frame), color in zip(reader, colors, strict=True):
            np.testing.assert_allclose(frame.mean((0, 1)), color, atol=3)


def boxes(content: bytes) -> list[tuple[str, bytes]]:
    """Types and contents of the boxes of an mp4 (ISO/IEC 14496-12, section 4.2), which must fill it exactly."""
    found, place = [], 0
    while place < len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        head = 8
        if size == 1:  # its 64-bit size follows
            (size,), head = struct.unpack_from(">Q", content, place + 8), 16
        assert size >= head
        assert place + size <= len(content)
        found.append((kind.decode("latin-1"), content[place + head : place + size]))
        place += size
    return found


def test_boxes_of_an_mp4(tmp_path: Path) -> None:
    """Progressive download: brand, index before pictures, and H.264 that browsers know, of even sides."""
    with VideoWriter(tmp_path / "v.mp4", 30) as writer:
        for shade in range(4):
            writer.write(np.full((47, 63, 3), 60 * shade, dtype=np.uint8))
    top = boxes(writer.path.read_bytes())
    kinds = [kind for kind, _ in top if kind != "free"]
    assert kinds == ["ftyp", "moov", "mdat"]
    brand = dict(top)["ftyp"]
    assert {brand[:4], *(brand[i : i + 4] for i in range(8, len(brand), 4))} >= {b"isom", b"avc1", b"mp41"}
    inner = dict(top)["moov"]
    for kind in ("trak", "mdia", "minf", "stbl", "stsd"):
        inner = dict(boxes(inner))[kind]
    [(coding, entry)] = boxes(inner[8:])  # after version, flags and number of entries
    assert coding == "avc1"
    assert struct.unpack_from(">HH", entry, 24) == (64, 48)  # width, height
    configuration = dict(boxes(entry[78:]))["avcC"]
    profile, level = configuration[1], configuration[3]
    assert profile in (66, 77, 100)  # Baseline, Main, High: 8 bits, 4:2:0
    assert level <= 51


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, False), (9, False), (5, True)])
def test_colour_matrix_and_range(tmp_path: Path, matrix: int, full: bool) -> None:
    """YUV of one colour, computed from the matrices of BT.709, BT.601 and BT.2020."""
    red, green, blue = 0.8, 0.3, 0.1
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    scale = (0, 1023, 1023) if full else (64, 876, 896)
    yuv = [round(scale[0] + scale[1] * luma), round(512 + scale[2] * cb), round(512 + scale[2] * cr)]
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p10le"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        frame = av.VideoFrame(32, 32, "yuv420p10le")
        for plane, value in zip(frame.planes, yuv):
            plane.update(np.full(plane.buffer_size // 2, value, dtype="<u2").tobytes())
        frame.colorspace, frame.color_range, frame.pts = matrix, 2 if full else 1, 0
        frame.time_base = Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(path) as reader:
        _, image = next(iter(reader))
    np.testing.assert_allclose(image.mean((0, 1)), [204, 76.5, 25.5], atol=1.5)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_rotation_tags(tmp_path: Path, matrix: tuple[int, ...], turns: int) -> None:
    image = plain(20)
    image[:10, :30] = (250, 120, 30)
    with VideoWriter(tmp_path / "v.mp4", 25) as writer:
        writer.write(image)
    content = bytearray(writer.path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version 0: 40 bytes stand before the matrix, 3 x 3 numbers
    for place, value in zip((0, 1, 3, 4), matrix):
        content[start + 4 * place : start + 4 * place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    writer.path.write_bytes(content)
    with VideoReader(writer.path) as reader:
        assert reader.size == ((64, 48) if turns % 2 else (48, 64))
        _, found = next(iter(reader))
    assert np.abs(found.astype(int) - np.rot90(image, turns)).mean() < 4
    oracle = cv2.cvtColor(cv2.VideoCapture(str(writer.path)).read()[1], cv2.COLOR_BGR2RGB)
    assert np.abs(found.astype(int) - oracle).mean() < 4


@pytest.mark.parametrize("name", ["v.mp4", "v.webm", "v.avi"])
def test_damaged_frame(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    codec, pix_fmt = {"v.webm": ("libvpx-vp9", "yuv420p"), "v.avi": ("mjpeg", "yuvj420p")}.get(
        name, ("libx264", "yuv420p")
    )
    path = encode(tmp_path / name, LEVELS, codec, pix_fmt, noise=8)
    time = damage(path, 15)
    lost = round(time * 25)
    with VideoReader(path) as reader:
        frames = list(reader.frames())
        assert [index for index, _ in reader.broken] == [lost]
    assert [frame.number for frame in frames] == [index for index in range(40) if index != lost]
    np.testing.assert_allclose([frame.time for frame in frames], [f.number / 25 for f in frames], atol=1.1e-3)
    intact = [frame for frame in frames if not lost <= frame.number < 24]  # 24: the next key frame
    np.testing.assert_allclose([f.image.mean() for f in intact], [LEVELS[f.number] for f in intact], atol=2.5)
    assert f"is damaged: frame {lost} ({lost / 25:.2f} s) could not be decoded" in caplog.text
    read = []
    with (
        pytest.raises(DataError, match=rf"{name} is damaged: frame {lost} \({lost / 25:.2f} s\)"),
        VideoReader(path, on_error="stop") as reader,
    ):
        read.extend(index for index, _ in reader)
    assert read == list(range(lost))


def test_file_that_ends_early(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "whole.mp4", LEVELS, noise=8, movflags="+faststart")
    with VideoWriter(tmp_path / "v.mp4", 25) as writer:
        for _, frame in VideoReader(path):
            writer.write(frame)
    content = writer.path.read_bytes()
    writer.path.write_bytes(content[: len(content) // 2])
    with VideoReader(writer.path) as reader:
        indices = [index for index, _ in reader]
    assert 10 < len(indices) < 30
    assert indices == list(range(len(indices)))
    assert "v.mp4 ends early" in caplog.text or "v.mp4 is damaged" in caplog.text
    with pytest.raises(DataError, match=r"v\.mp4"), VideoReader(writer.path, on_error="stop") as reader:
        list(reader)


def test_size_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "v.h264"
    for number, (height, width) in enumerate([(48, 64), (96, 128)]):
        with VideoWriter(tmp_path / "part.h264", 25) as writer:
            for _ in range(3):
                writer.write(plain(50 + 100 * number, (height, width)))
        with path.open("ab") as out:
            out.write(writer.path.read_bytes())
    with VideoReader(path) as reader:
        frames = list(reader.frames())
    assert [frame.image.shape[:2] for frame in frames] == [(48, 64)] * 3 + [(96, 128)] * 3
    np.testing.assert_allclose([frame.image.mean() for frame in frames], [50] * 3 + [150] * 3, atol=2.5)


def test_folder_of_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2, 10, 11):
        cv2.imwrite(str(tmp_path / f"f{number}.png"), plain(10 * number))
    (tmp_path / "notes.txt").write_text("not a frame")
    with VideoReader(tmp_path, fps=10) as reader:
        assert (reader.fps, reader.size, reader.expected_frames) == (10, (48, 64), 4)
        frames = list(reader.frames())
    assert [frame.image[0, 0, 0] for frame in frames] == [10, 20, 100, 110]
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.1, 0.2, 0.3])
    (tmp_path / "f2.png").write_bytes(b"damaged")
    caplog.set_level(logging.WARNING)
    with VideoReader(tmp_path) as reader:
        assert [index for index, _ in reader] == [0, 2, 3]
    assert "f2.png cannot be decoded" in caplog.text
    with pytest.raises(DataError, match="frame 1 "), VideoReader(tmp_path, on_error="stop") as reader:
        list(reader)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image"):
        VideoReader(tmp_path / "empty")


def test_stream(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    with VideoReader(write_video(tmp_path / "v.mp4").as_uri()) as reader:
        assert len(list(reader)) == 9
