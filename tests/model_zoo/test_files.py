import functools
import http.server
import threading

import pytest

from pe_dense.model_zoo import MIRROR, find_file
from pe_dense.model_zoo.integrity import record_file
from pe_dense.modeling.backbone import WeightsError

from .conftest import FILE, NAME


class Handler(http.server.SimpleHTTPRequestHandler):
    """A web server that says nothing; ``short`` bytes are missing at the end of what it sends."""

    short = 0

    def log_message(self, format, *args):
        pass

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) - self.short])


@pytest.fixture
def server(small, monkeypatch):
    handler = functools.partial(Handler, directory=str(small.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(MIRROR, f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.shutdown()


def test_a_path(small, tmp_path):
    assert find_file(NAME, small) == small
    with pytest.raises(FileNotFoundError, match=rf"nowhere\.pth of {NAME} does not exist; give the path of {FILE}"):
        find_file(NAME, tmp_path / "nowhere.pth")


def test_a_folder_as_mirror(small, tmp_path, monkeypatch):
    monkeypatch.setenv(MIRROR, str(small.parent))
    assert find_file(NAME) == small
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv(MIRROR, str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match=rf"{FILE} does not exist: PE_DENSE_ZOO must name a folder that has it"):
        find_file(NAME)
    monkeypatch.setenv(MIRROR, "ftp://example.org")
    with pytest.raises(ValueError, match=r"PE_DENSE_ZOO=ftp://example\.org is neither a folder nor an http"):
        find_file(NAME)


def test_an_address_as_mirror(small, server, tmp_path, capsys):
    content = small.read_bytes()
    path = find_file(NAME)
    assert path == tmp_path / "cache" / "model_zoo" / FILE
    assert path.read_bytes() == content
    small.unlink()
    assert find_file(NAME) == path  # from the cache, without asking
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"could not fetch http://.*/small%20rcnn\.pth \(HTTPError: .*404"):
        find_file(NAME)
    assert list(path.parent.iterdir()) == []
    capsys.readouterr()


def test_a_download_that_ends_early(small, server, tmp_path, monkeypatch):
    monkeypatch.setattr(Handler, "short", 10)
    with pytest.raises(FileNotFoundError, match=rf"the connection ended after \d+ of {small.stat().st_size} bytes"):
        find_file(NAME)
    assert list((tmp_path / "cache" / "model_zoo").iterdir()) == []


def test_a_web_page_is_not_kept(small, server, tmp_path):
    small.write_text("<!DOCTYPE html>\n<title>sign in</title>\n")
    with pytest.raises(FileNotFoundError, match=r"no weights file but text that starts with '<!DOCTYPE html>'"):
        find_file(NAME)
    assert list((tmp_path / "cache" / "model_zoo").iterdir()) == []


def test_a_truncated_file_in_the_cache_is_noticed(small, server):
    path = find_file(NAME)
    record_file(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"truncated or another file\. Delete .* and fetch it again"):
        find_file(NAME)


def test_offline(small, monkeypatch):
    with pytest.raises(FileNotFoundError) as caught:
        find_file(NAME)
    text = str(caught.value)
    assert f"the weights of {NAME} from the Hugging Face hub (OSError: no route to host)" in text
    assert f"hf download facebook/PE-Detection {FILE}" in text
    assert "PE_DENSE_ZOO" in text
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *place: str(small))
    assert find_file(NAME) == small
