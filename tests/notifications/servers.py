"""Real servers that messages are sent to: HTTP, SMTP and one that breaks off, each in a thread, on loopback."""

import socket
import socketserver
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import orjson


@dataclass
class Web:
    """Keeps what it is sent; answers `status`, or leads to `location`."""

    address: str = "127.0.0.1"
    status: int = 200
    location: str = ""
    body: bytes = b"ok"
    times: int = 1
    """The body is sent so often."""
    got: list[dict[str, Any]] = field(default_factory=list)
    hold: threading.Event | None = None
    """It answers once this is set."""

    def __enter__(self) -> "Web":
        web = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                said = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                web.got.append({"path": self.path, "headers": dict(self.headers), "body": said})
                if web.hold is not None:
                    web.hold.wait(60)
                self.send_response(302 if web.location else web.status)
                if web.location:
                    self.send_header("Location", web.location)
                self.send_header("Content-Length", str(web.times * len(web.body)))
                self.end_headers()
                try:
                    for _ in range(web.times):
                        self.wfile.write(web.body)
                except OSError:
                    self.close_connection = True  # whoever asked has heard enough

            do_GET = do_POST = answer  # noqa: N815  names of the standard library

            def log_message(self, *args: Any) -> None:
                """Nothing: the tests look at `got`."""

        self._server = ThreadingHTTPServer((self.address, 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.hold is not None:
            self.hold.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, scheme: str = "json") -> str:
        return f"{scheme}://{self.address}:{self.port}/hook"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """As Apprise's JSON has them."""
        return [orjson.loads(one["body"]) for one in self.got]


@dataclass
class Mail:
    """The smallest SMTP server that takes a mail; with `refuse`, none."""

    refuse: str = ""
    got: list[str] = field(default_factory=list)

    def __enter__(self) -> "Mail":
        mail = self

        class Handler(socketserver.StreamRequestHandler):
            def say(self, text: str) -> None:
                self.wfile.write(text.encode() + b"\r\n")

            def handle(self) -> None:
                self.say("220 here")
                while line := self.rfile.readline().decode(errors="replace").strip():
                    verb = line.upper()[:4]
                    if verb == "QUIT":
                        self.say("221 bye")
                        return
                    if verb == "EHLO":
                        self.say("250-here\r\n250 AUTH PLAIN LOGIN")
                    elif verb == "AUTH":
                        self.say(mail.refuse or "235 welcome")
                    elif verb == "DATA":
                        self.say("354 go on")
                        text = []
                        while (part := self.rfile.readline().decode(errors="replace").rstrip("\r\n")) != ".":
                            text.append(part)
                        mail.got.append("\n".join(text))
                        self.say("250 taken")
                    else:
                        self.say("250 fine")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, password: str = "a-password") -> str:
        port = self._server.server_address[1]
        return f"mailto://alice:{password}@example.org:{port}?smtp=127.0.0.1&from=anneal@example.org&to=bob@example.org"


@dataclass
class Cut:
    """Reads a whole message, says `answer`, and is gone: in order, or with `reset` as a machine that falls over."""

    answer: bytes
    reset: bool = False
    got: int = 0

    def __enter__(self) -> "Cut":
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        while True:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            with taken:
                said = b""
                while not said.endswith(b"}"):
                    said += taken.recv(65536)
                self.got += 1
                taken.sendall(self.answer)
                if self.reset:
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def url(self) -> str:
        return f"json://127.0.0.1:{self._socket.getsockname()[1]}/hook"
