import json
import logging
import os
from hashlib import sha256

import pytest

from pe_dense.model_zoo import integrity
from pe_dense.model_zoo.integrity import check_against_hub, check_file, record_file
from pe_dense.modeling.backbone import WeightsError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"weights")
    record_file(path)
    return path


@pytest.fixture
def hashed(monkeypatch):
    """Files that were read, in order."""
    read, original = [], integrity._hash
    monkeypatch.setattr(integrity, "_hash", lambda path: read.append(path) or original(path))
    return read


def set_time(path, nanoseconds):
    os.utime(path, ns=(nanoseconds, nanoseconds))


def test_the_record(file):
    record = json.loads((file.parent / "w.pth.check.json").read_text())
    assert record == {
        "size": 7, "sha256": sha256(b"weights").hexdigest(), "mtime_ns": file.stat().st_mtime_ns
    }  # fmt: skip
    assert sorted(p.name for p in file.parent.iterdir()) == ["w.pth", "w.pth.check.json"]


def test_a_check_and_another_use_leave_the_record(file, hashed):
    record_file(file)
    assert hashed == []
    other = file.with_name("other.pth")
    other.write_bytes(b"other")
    check_file(other, verify=True)
    assert not other.with_name("other.pth.check.json").exists()


def test_the_content_is_read_when_it_may_have_changed(file, hashed):
    check_file(file)
    assert hashed == []
    check_file(file, verify=True)
    assert hashed == [file]
    set_time(file, 10**18)
    for _ in range(2):  # the new time is recorded
        check_file(file)
    assert hashed == [file, file]


def test_another_size(file, hashed):
    file.write_bytes(b"weigh")
    with pytest.raises(WeightsError, match=r"w\.pth has 5 bytes and had 7 .* truncated .* Delete .*pth and fetch it"):
        check_file(file)
    assert hashed == []


def test_another_content(file):
    time = file.stat().st_mtime_ns
    file.write_bytes(b"WEIGHTS")
    set_time(file, time + 1)
    for _ in range(2):
        with pytest.raises(WeightsError, match=rf"SHA-256 {sha256(b'WEIGHTS').hexdigest()}, recorded in .*check\.json"):
            check_file(file)
    set_time(file, time)
    check_file(file)  # what nobody can see without reading
    with pytest.raises(WeightsError, match="another content"):
        check_file(file, verify=True)


def test_the_hub_names_the_content(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "a"
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True)
    good, bad = sha256(b"weights").hexdigest(), sha256(b"other").hexdigest()
    for name in (good, bad):
        (blobs / name).write_bytes(b"weights")
        (snapshot / f"{name}.pth").symlink_to(blobs / name)
    record_file(snapshot / f"{good}.pth")
    assert (snapshot / f"{good}.pth.check.json").is_file()
    check_against_hub(snapshot / f"{good}.pth")
    for look in (record_file, check_against_hub):
        with pytest.raises(WeightsError, match=f"is damaged: its SHA-256 is {good}, on the hub it is {bad}"):
            look(snapshot / f"{bad}.pth")
    assert not (snapshot / f"{bad}.pth.check.json").exists()


def test_a_folder_of_others(tmp_path, monkeypatch, hashed):
    """Its files are recorded in the user's cache: the content is not read at each use, and changes are noticed."""
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.pth").write_bytes(folder.encode())
    for _ in range(2):
        for folder in ("a", "b"):
            check_file(tmp_path / folder / "w.pth")
            record_file(tmp_path / folder / "w.pth")
    assert hashed == [tmp_path / "a" / "w.pth", tmp_path / "b" / "w.pth"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["w.pth"]
    (tmp_path / "a" / "w.pth").write_bytes(b"changed")
    with pytest.raises(WeightsError, match=r"had 1 when it was first used .*cache/model_zoo/w-[0-9a-f]+\.check"):
        check_file(tmp_path / "a" / "w.pth")
    (tmp_path / "b" / "w.pth.check.json").write_text(
        json.dumps({"size": 1, "sha256": sha256(b"b").hexdigest(), "mtime_ns": 0})
    )
    check_file(tmp_path / "b" / "w.pth")  # what its owner recorded counts
    assert len(hashed) == 3


def test_nothing_can_be_written(tmp_path, monkeypatch, caplog):
    def refuse(source, target):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "w.pth").write_bytes(b"weights")
    monkeypatch.setattr("os.replace", refuse)
    with caplog.at_level(logging.WARNING, "pe_dense"):
        record_file(tmp_path / "w.pth")
    assert "cannot record size" in caplog.text
    assert "Permission denied" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]


def test_a_damaged_record(file):
    (file.parent / "w.pth.check.json").write_text("{")
    with pytest.raises(WeightsError, match=r"w\.pth\.check\.json is damaged .* delete it"):
        check_file(file)
