"""A server that ignores the conditions of a write is found out."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from abet.doctor.objects import check_s3
from abet.places import S3Uri
from abet.site import S3Settings, SiteConfig
from abet.storage import ConditionsIgnored, open_storage, require_writable
from tests.s3_server import S3Server


class Careless(http.server.BaseHTTPRequestHandler):
    """Just enough of S3 to store an object, whatever a writer expects to be there: some servers are like this."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, b"<ListBucketResult/>")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(204)

    def _answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("ETag", '"0123456789abcdef0123456789abcdef"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def careless() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def site_at(endpoint: str | None, bucket: str) -> SiteConfig:
    settings = S3Settings(endpoint=endpoint, region="us-east-1", checksums="when_required", patience_seconds=1)
    return SiteConfig(artifacts=S3Uri(bucket), s3=settings)


def test_ignored_conditions_are_a_problem(careless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    check = list(check_s3(site_at(careless, "models")))[-1]
    assert (check.name, check.state) == ("s3 conditional writes", "problem")
    assert "ignores If-None-Match and If-Match" in check.found
    # and nothing that relies on them begins
    with pytest.raises(ConditionsIgnored, match=r"keep artifacts on a server that honours them .*, or in a folder"):
        require_writable(open_storage(S3Uri("models"), site_at(careless, "models").s3))


def test_honoured_conditions_are_not(s3: S3Server) -> None:
    bucket = s3.bucket()
    check = list(check_s3(site_at(s3.endpoint, bucket)))[-1]
    assert (check.name, check.state) == ("s3 conditional writes", "ok")
    assert open_storage(S3Uri(bucket), s3.settings).list() == []
