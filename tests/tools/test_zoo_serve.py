"""Sharing over HTTP: what is given away and what is not, how it ends, and the way from a download to results."""

from __future__ import annotations

import http.client
import json
import mimetypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import partial
from html import unescape
from http.client import HTTPMessage
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import monai.bundle
import pytest
from small_bundle import NAME, write_small_bundle

from common.phantoms.sets import make_tiny_set
from tools.command import run_commands
from tools.zoo.index import index, write_index
from tools.zoo.layout import BUNDLES, bundle_names, read_json
from tools.zoo.package import build_package
from tools.zoo.serve import SharedFolder, serve

ROOT = Path(__file__).resolve().parents[2]
SERVE = """
import sys
from tools.command import run_commands
from tools.zoo.serve import serve
sys.exit(run_commands({"serve": serve}, "zoo"))
"""


class Server:
    """A process that runs `zoo serve FOLDER --port 0`."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "serve", str(folder), "--port", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        first, self.download_line = self.process.stdout.readline(), self.process.stdout.readline()
        self.url = first.partition("/ shares ")[0]
        self.port = int(self.url.rpartition(":")[2])

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, HTTPMessage, bytes]:
        """Ask for a path as it is written, which other clients would tidy up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out, errors


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index, and beside it what is not to be shared."""
    folder = tmp_path_factory.mktemp("zoo") / "dist"
    for version in ("0.1.0", "0.2.0"):
        build_package(write_small_bundle(folder.parent, version=version), folder)
    write_index(folder)
    (folder.parent / "secret.txt").write_text("secret")
    (folder / ".hidden").write_text("secret")
    (folder / "sub" / ".git").mkdir(parents=True)
    (folder / "sub" / ".git" / "config").write_text("secret")
    (folder / "sub" / "open.txt").write_text("open")
    (folder / "outside.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "loop").symlink_to(folder / "loop")
    return folder


@pytest.fixture(scope="module")
def server(shared: Path) -> Iterator[Server]:
    running = Server(shared)
    yield running
    status, out, errors = running.stop()
    assert (status, out) == (0, "stopped\n")
    assert "Traceback" not in errors


def test_files_are_shared_as_they_are(server: Server, shared: Path) -> None:
    for path in ("sub/open.txt", f"{NAME}_v0.1.0.zip", f"{NAME}.png"):
        status, headers, content = server.get(f"/{path}")
        assert status == 200
        assert headers["Content-Type"] == mimetypes.guess_type(path)[0]
        assert content == (shared / path).read_bytes()
    status, headers, content = server.get(f"/{NAME}_v0.1.0.zip", method="HEAD")
    assert (status, content) == (200, b"")
    assert int(headers["Content-Length"]) == (shared / f"{NAME}_v0.1.0.zip").stat().st_size


@pytest.mark.parametrize(
    "path",
    [
        *("/.hidden", "/%2ehidden", "/../secret.txt", "/%2e%2e/secret.txt", "/sub/..%2f..%2fsecret.txt"),
        *("//../secret.txt", "/outside.txt", "/loop", "/sub", "/sub/", "/sub/.git/", "/sub/.git/config"),
        *("/none.zip", "/%00", "/" + "x" * 5000),
    ],
)
def test_nothing_else_is_given_away(server: Server, path: str) -> None:
    status, _, content = server.get(path)
    assert status == 404
    assert b"secret" not in content.replace(b"secret.txt", b"")
    assert b"open.txt" not in content


def test_a_part_of_a_file_is_sent_so_that_downloads_can_be_resumed(server: Server, shared: Path) -> None:
    content = (shared / f"{NAME}_v0.1.0.zip").read_bytes()
    parts = {"bytes=2-5": slice(2, 6), "bytes=10-": slice(10, None), "bytes=-7": slice(-7, None)}
    for wanted, part in parts.items():
        status, headers, sent = server.get(f"/{NAME}_v0.1.0.zip", Range=wanted)
        assert (status, sent) == (206, content[part])
        start = range(len(content))[part].start
        assert headers["Content-Range"] == f"bytes {start}-{start + len(sent) - 1}/{len(content)}"
    assert server.get(f"/{NAME}_v0.1.0.zip", Range="bytes=99999999-")[0] == 416
    assert server.get(f"/{NAME}_v0.1.0.zip", Range="bytes=-")[0] == 200
    assert server.get(f"/{NAME}_v0.1.0.zip")[1]["Accept-Ranges"] == "bytes"


def test_a_client_that_sends_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    monkeypatch.setattr(SharedFolder, "timeout", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SharedFolder, directory=str(shared))) as quick:
        thread = Thread(target=quick.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with socket.create_connection(quick.server_address, timeout=10) as client:
            client.sendall(b"GET / HT")
            assert client.recv(1) == b""
        quick.shutdown()
        thread.join()


def test_addresses_are_those_under_which_the_page_was_asked_for(server: Server, shared: Path) -> None:
    host = f"lab-server.example:{server.port}"
    for path in ("/", "/index.html", "/index.html?x=1"):
        status, headers, content = server.get(path, Host=host)
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert int(headers["Content-Length"]) == len(content)
        assert f"http://{host}/{NAME}_v0.2.0.zip" in content.decode()
        assert "127.0.0.1" not in content.decode()
    info = json.loads(server.get("/model_info.json", Host=host)[2])
    assert info[f"{NAME}_v0.1.0"]["source"] == f"http://{host}/{NAME}_v0.1.0.zip"
    for nasty in ("<script>", 'a"b', "a b", ""):
        assert server.get("/", Host=nasty)[2] == (shared / "index.html").read_bytes()


def test_monai_downloads_by_the_line_that_is_printed(server: Server, tmp_path: Path) -> None:
    words = shlex.split(server.download_line)
    assert words[:4] == ["python", "-m", "monai.bundle", "download"]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options == {"--name": NAME, "--url": f"{server.url}/{NAME}_v0.2.0.zip", "--bundle_dir": "."}
    with pytest.warns(UserWarning, match="No hash value"):
        monai.bundle.download(name=NAME, url=options["--url"], bundle_dir=tmp_path, progress=False)
    assert read_json(tmp_path / NAME / "configs" / "metadata.json")["version"] == "0.2.0"
    assert (tmp_path / NAME / "models" / "model.pt").read_bytes() == b"weights"


def test_what_cannot_be_served_is_one_line(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, message in (
            ([tmp_path], f"{tmp_path}: expected a folder with model_info.json; `python -m tools zoo index --out "),
            *(([shared, "--port", wrong], f"cannot listen on 127.0.0.1:{wrong}: ") for wrong in (port, 70000, "http")),
        ):
            assert run_commands({"serve": serve}, "zoo", ["serve", *map(str, arguments)]) == 1
            captured = capsys.readouterr()
            assert message in captured.err
            assert captured.err.count("\n") == 1
            assert captured.out == ""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A bundle of this repository, shared: its name, and the gallery page."""
    folder = tmp_path_factory.mktemp("dist")
    assert run_commands({"index": index}, "zoo", ["index", request.param, "--out", str(folder)]) == 0
    server = Server(folder)
    yield request.param, server.get("/")[2].decode()
    server.stop()


@pytest.mark.slow  # each line starts an interpreter that imports MONAI
@pytest.mark.parametrize("served", bundle_names()[:1], indirect=True)
def test_the_lines_of_the_page_lead_from_an_empty_folder_to_results(served: tuple[str, str], tmp_path: Path) -> None:
    name, page = served
    make_tiny_set(read_json(BUNDLES / name / "configs" / "smoke.json")["synthetic_data"], tmp_path / "set")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "DATA").symlink_to(tmp_path / "set" / "test")
    lines = [unescape(re.sub("<[^>]*>", "", line)) for line in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]
    download, check, *others = lines[1:]
    shell(download, tmp_path, empty)
    assert "OK" in shell(check, tmp_path, empty)
    if not (empty / name / "models" / "model.pt").is_file():
        pytest.skip(f"{name} has no weights yet")
    run, load = others[:2]
    shell(run, tmp_path, empty)
    assert len((empty / name / "eval" / "metrics.csv").read_text().splitlines()) > 1
    shell(f"python -c {shlex.quote(load)}", tmp_path, empty)


def shell(line: str, tmp_path: Path, cwd: Path) -> str:
    """Run a command line with a `python` that has the installed packages, but not this repository; return stdout."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    # -S leaves out the .pth files through which an editable install is found
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    python.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "OMP_NUM_THREADS": "1",
        "MONAI_DEBUG": "false",
    }
    done = subprocess.run(
        ["sh", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
