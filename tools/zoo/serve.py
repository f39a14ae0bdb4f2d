"""Sharing packaged bundles over HTTP, for a lab: the files of one folder, and nothing else."""

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
ADDRESS = f"http://{HOST}:{PORT}"  # what an index names unless told otherwise
_PAGES = {"index.html": "text/html", "model_info.json": "application/json"}
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


class SharedFolder(SimpleHTTPRequestHandler):
    """Serves the files of a folder: no listings, no hidden files, no link that leads out of it.

    Addresses in the gallery and in model_info.json that an index without `--url` holds become those under which the
    page was asked for, so that a command copied from the page works from any machine.
    """

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Answer with the headers; return the file to send, None if there is none to send."""
        path = self._shared_file()
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        if path.parent == Path(self.directory) and path.name in _PAGES:
            return self._send_page(path)
        return super().send_head()

    def _shared_file(self) -> Path | None:
        """The file that was asked for, if it is one to share."""
        root = Path(self.directory)
        try:
            asked = Path(self.translate_path(self.path))
            path = (root / "index.html" if asked == root else asked).resolve()
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            return path if path.is_file() and not hidden else None
        except (OSError, RuntimeError, ValueError):  # a name too long, a loop of links, a null byte, a place outside
            return None

    def _send_page(self, path: Path) -> io.BytesIO:
        content, host = path.read_bytes(), self.headers.get("Host", "")
        if _HOST.fullmatch(host):
            content = content.replace(ADDRESS.encode(), f"http://{host}".encode())
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{_PAGES[path.name]}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")  # an index is written again when a version is added
        self.end_headers()
        return io.BytesIO(content)


@command
def serve(folder: str = "dist", host: str = HOST, port: int = PORT) -> None:
    """Share a folder of packaged bundles over HTTP, until Ctrl-C or SIGTERM.

    There is no password and no encryption: everyone who reaches the port can download. The default address is reached
    from this machine only; `--host 0.0.0.0` opens it to the network.

    Args:
        folder: what `python -m tools zoo index` has written.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
    """
    files = Path(str(folder)).resolve()
    newest = {key.rpartition("_v")[0]: key for key in _released(files)}
    with _listen(files, str(host), port) as server:
        shown = socket.gethostname() if host == "0.0.0.0" else host
        url = f"http://{shown}:{server.server_port}"
        stopping = signal.SIGINT, signal.SIGTERM
        before = [signal.signal(number, signal.default_int_handler) for number in stopping]
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
        finally:
            for number, handler in zip(stopping, before, strict=True):
                signal.signal(number, handler)


def _released(folder: Path) -> list[str]:
    """`NAME_v<version>` of all that is shared, older versions first."""
    path = folder / "model_info.json"
    if not path.is_file():
        raise ValueError(
            f"{folder}: expected a folder with model_info.json; `python -m tools zoo index --out {folder}` writes it"
        )
    return list(read_json(path))


def _listen(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    if type(port) is not int or not 0 <= port < 1 << 16:
        raise ValueError(f"port must be an integer from 0 to 65535, got {port!r}")
    try:
        return ThreadingHTTPServer((host, port), partial(SharedFolder, directory=str(folder)))
    except OSError as error:
        raise ValueError(f"cannot listen on {host}:{port}: {error}; choose another --host or --port") from None
