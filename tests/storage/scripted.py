"""A server that answers what is hard to provoke on a real one."""

import re
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage import (
    Storage,
    open_storage,
)
from tests.storage.asking import SECRET


class Scripted(ThreadingHTTPServer):
    """Answers PUT with what `puts` holds, one after the other; keeps the bytes of those that `stores` says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.puts: list[tuple[int, str]] = []
        self.stored: bytes | None = None
        self.keep_when_failing = False
        self.broken_answers: list[str] = []
        self.headers_seen: list[dict[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers_seen.append(dict(self.headers))
        status, code = self.server.puts.pop(0)
        if status == 200 or (status == 500 and self.server.keep_when_failing):
            self.server.stored = body
        self.answer(status, code)

    def do_GET(self) -> None:
        if self.server.broken_answers and "list-type" not in self.path:
            self.break_off(self.server.broken_answers.pop(0))
        elif "list-type" in self.path:
            self.answer(200, "", b"<ListBucketResult/>")
        elif self.server.stored is None:
            self.answer(404, "NoSuchKey")
        else:
            self.send_stored()

    def break_off(self, how: str) -> None:
        """An answer that is not what it seems."""
        if how == "sound":
            self.send_stored()
            return
        if how == "replaced":
            self.answer(412, "PreconditionFailed")
            return
        assert self.server.stored is not None
        first, last = self.asked_range()
        content = self.server.stored[:8] if how == "other range" else self.server.stored[first:last]
        self.send_response(200 if last is None else 206)
        self.send_header("Content-Length", "0" if how == "empty" else str(len(content)))
        if how != "empty":
            self.send_header("ETag", '"1"')
        if last is not None and how != "empty":
            self.send_header("Content-Range", f"bytes {0 if how == 'other range' else first}-{last - 1}/100000000")
        if how == "wrong checksum":
            self.send_header("x-amz-checksum-crc32", "AAAAAA==")
        self.end_headers()
        self.wfile.write({"empty": b"", "cut off": content[: len(content) // 2]}.get(how, content))
        self.close_connection = True

    def asked_range(self) -> tuple[int, int | None]:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        return (int(match[1]), int(match[2]) + 1) if match else (0, None)

    def send_stored(self) -> None:
        assert self.server.stored is not None
        first, last = self.asked_range()
        part = self.server.stored[first:last]
        self.send_response(200 if last is None else 206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", '"1"')
        if last is not None:
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{len(self.server.stored)}")
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(part)

    def answer(self, status: int, code: str, body: bytes = b"") -> None:
        body = body or (f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode() if code else b"")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{len(self.server.headers_seen)}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def storage_at(server: Scripted, **settings: object) -> Storage:
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    return open_storage(S3Uri("bucket", "run"), S3Settings(endpoint=endpoint, **settings))
