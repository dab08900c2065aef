from __future__ import annotations

import hashlib
import http.server
import threading

import pytest

from glassformer.data.downloads import PublicFile, obtain
from glassformer.errors import DataError

CONTENT = b"To be, or not to be"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A web server with one file, the requests it got, and a cache of our own."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            found = self.path == "/text.txt"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(CONTENT) if found else 0))
            self.end_headers()
            if found:
                self.wfile.write(CONTENT)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GLASSFORMER_DATA", raising=False)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    thread.join()
    server.server_close()


def public_file(url: str, content: bytes = CONTENT) -> PublicFile:
    return PublicFile("folder/text.txt", url, hashlib.sha256(content).hexdigest())


def test_a_file_is_downloaded_once_and_then_taken_from_the_cache(home):
    url, requests = home
    first = obtain(public_file(f"{url}/text.txt"))
    second = obtain(public_file(f"{url}/text.txt"))
    assert first == second
    assert first.read_bytes() == CONTENT
    assert requests == ["/text.txt"]


def test_a_damaged_cached_file_is_downloaded_again(home):
    url, requests = home
    obtain(public_file(f"{url}/text.txt")).write_bytes(b"To bee")
    assert obtain(public_file(f"{url}/text.txt")).read_bytes() == CONTENT
    assert len(requests) == 2


@pytest.mark.parametrize("case", ["missing", "wrong content", "no server"])
def test_a_failed_download_says_what_to_do_and_leaves_nothing(home, tmp_path, case):
    url, _ = home
    file = {
        "missing": public_file(f"{url}/other.txt"),
        "wrong content": public_file(f"{url}/text.txt", b"something else"),
        "no server": public_file("http://127.0.0.1:9/text.txt"),
    }[case]
    with pytest.raises(DataError, match="GLASSFORMER_DATA") as caught:
        obtain(file)
    assert file.url in str(caught.value)
    assert not (tmp_path / "cache" / "downloads" / file.name).exists()


def test_a_provided_file_needs_no_network_but_must_be_the_published_one(tmp_path, monkeypatch):
    monkeypatch.setenv("GLASSFORMER_DATA", str(tmp_path))
    path = tmp_path / "folder" / "text.txt"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert obtain(public_file("http://127.0.0.1:9/text.txt")) == path
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(DataError, match="not the published file"):
        obtain(public_file("http://127.0.0.1:9/text.txt"))
