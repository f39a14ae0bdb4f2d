"""Two processes enlarge one volume as one does, to the byte, also after one of them was killed."""

import signal
import socket
import time

import numpy as np
import pytest
from shared_tiles import enlarge, member

SIZE = (40, 44, 36)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volume")
    np.save(folder / "in.npy", np.random.default_rng(0).integers(0, 60000, SIZE).astype(np.uint16))
    return folder / "in.npy"


@pytest.fixture(scope="module")
def alone(volume):
    """What one process writes, by suffix."""
    outputs = {}
    for suffix in (".tif", ".nii.gz"):
        output = volume.with_name(f"out{suffix}")  # a TIFF names itself
        enlarge(volume.parent, volume, output, shared=False)
        outputs[suffix] = output.read_bytes()
    return outputs


@pytest.fixture
def together(processes, volume):
    """Enlarges in two processes; returns how they ended."""

    def run(folder, output, ending=""):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        members = [processes.Process(target=member, args=(n, port, folder, volume, output, ending)) for n in range(2)]
        started = time.monotonic()
        for process in members:
            process.start()
        for process in members:
            process.join(90)
        assert time.monotonic() - started < 90
        return [process.exitcode for process in members]

    return run


@pytest.mark.parametrize("suffix", [".tif", ".nii.gz"])
def test_two_processes_write_the_bytes_of_one_also_after_a_kill(together, alone, tmp_path, suffix):
    output = tmp_path / f"out{suffix}"
    first, second = together(tmp_path, output.name, "killed")
    assert second == -signal.SIGKILL
    assert first != 0
    assert not output.exists()
    assert len(list((tmp_path / f"{output.name}.partial").glob("*.npy"))) >= 4
    assert together(tmp_path, output.name) == [0, 0]
    assert output.read_bytes() == alone[suffix]
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_a_bad_tile_of_one_process_is_the_error_of_both(together, tmp_path):
    assert together(tmp_path, "out.tif", "bad") == [0, 0]
    for rank in range(2):
        assert (tmp_path / f"error_{rank}").read_text() == "in.npy: a tile that cannot be read"
