"""`python -m tools zoo serve`: share the files of one folder over HTTP, and nothing else."""

from __future__ import annotations

import io
import re
import signal
import socket
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from tools.command import command
from tools.zoo.layout import read_json

HOST, PORT = "127.0.0.1", 8000
ADDRESS = f"http://{HOST}:{PORT}"  # what an index names if no other address is given
_PAGES = {"index.html": "text/html; charset=utf-8", "model_info.json": "application/json; charset=utf-8"}
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_RANGE = re.compile(r"bytes=(?=.*\d)(\d*)-(\d*)")


class SharedFolder(SimpleHTTPRequestHandler):
    """Serves the files of a folder: no listings, no hidden files, no link that leads out of it.

    A request for one range of bytes is answered with this part, so that a download can be resumed. Addresses that an
    index without `--url` holds become those under which the page was asked for.
    """

    timeout = 30.0  # seconds until a client that sends nothing is cut off

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Answer with the headers; return the content to send, None if there is none to send."""
        path = self._shared_file()
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        if path.parent == Path(self.directory) and path.name in _PAGES:
            content, host = path.read_bytes(), self.headers.get("Host", "")
            if _HOST.fullmatch(host):
                content = content.replace(ADDRESS.encode(), f"http://{host}".encode())
            headers = {"Content-Type": _PAGES[path.name], "Cache-Control": "no-cache"}
            return self._send(HTTPStatus.OK, content, headers)
        part = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        return self._send_part(path, *part.groups()) if part else super().send_head()

    def end_headers(self) -> None:
        """Say that ranges are served, and end the headers."""
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def _shared_file(self) -> Path | None:
        """Return the file that was asked for, if it is one to share."""
        root = Path(self.directory)
        try:
            asked = Path(self.translate_path(self.path))
            path = (root / "index.html" if asked == root else asked).resolve()
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            return path if path.is_file() and not hidden else None
        except (OSError, RuntimeError, ValueError):  # a name too long, a loop of links, a null byte, a place outside
            return None

    def _send_part(self, path: Path, first: str, last: str) -> io.BytesIO:
        size = path.stat().st_size
        start = int(first) if first else max(0, size - int(last))
        stop = min(int(last) + 1, size) if first and last else size
        if start >= stop:
            return self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{size}"})
        with path.open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{size}", "Content-Type": self.guess_type(str(path))}
        return self._send(HTTPStatus.PARTIAL_CONTENT, content, headers)

    def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str]) -> io.BytesIO:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        return io.BytesIO(content)


@command
def serve(folder: str = "dist", host: str = HOST, port: int = PORT) -> None:
    """Share a folder of packaged bundles over HTTP, until Ctrl-C or SIGTERM.

    There is no password and no encryption: everyone who reaches the port can download. The default address is reached
    from this machine only; `--host 0.0.0.0` opens it to the network.

    Args:
        folder: folder that `python -m tools zoo index` has written.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
    """
    files = Path(str(folder)).resolve()
    if not (files / "model_info.json").is_file():
        raise ValueError(
            f"{files}: expected a folder with model_info.json; `python -m tools zoo index --out {files}` writes it"
        )
    newest = {key.rpartition("_v")[0]: key for key in read_json(files / "model_info.json")}
    try:
        server = ThreadingHTTPServer((str(host), port), partial(SharedFolder, directory=str(files)))
    except (OSError, OverflowError, TypeError) as error:
        raise ValueError(f"cannot listen on {host}:{port}: {error}; choose another --host or --port") from None
    with server:
        url = f"http://{socket.gethostname() if host == '0.0.0.0' else host}:{server.server_port}"
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            sys.stdout.write(f"{url}/ shares {files}; Ctrl-C stops\n")
            for name, key in newest.items():
                sys.stdout.write(
                    f"python -m monai.bundle download --name {name} --url {url}/{key}.zip --bundle_dir .\n"
                )
            sys.stdout.flush()
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("stopped\n")
