"""Files of tensors: a changed bit is refused, whoever wrote the file."""

import hashlib
import random
import zipfile
from pathlib import Path

import pytest
import torch

from common.errors import DataError
from common.io.torch_file import DamagedFileError, load_torch, save_torch

CONTENT = {"weight": torch.arange(12.0).reshape(3, 4), "numbers": [1, 2.5, "x"], "state": {"step": torch.tensor(3)}}
BUNDLES = Path(__file__).parents[2] / "bundles"
SHIPPED = sorted(BUNDLES.glob("*/models/*.pt"))


def flipped(content, position):
    """Content with one bit changed."""
    changed = bytearray(content)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


@pytest.fixture
def path(tmp_path):
    save_torch(CONTENT, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_what_is_saved_is_read_here_and_by_torch(path):
    for state in (load_torch(path), torch.load(path, weights_only=True), torch.load(path, mmap=True)):
        assert torch.equal(state["weight"], CONTENT["weight"])
        assert state["numbers"] == CONTENT["numbers"]
        assert state["state"]["step"] == 3
    assert [found.name for found in path.parent.iterdir()] == ["model.pt"]


def test_every_byte_is_covered(path):
    content = path.read_bytes()
    for byte in (*range(0, len(content), 11), *range(len(content) - 100, len(content))):
        path.write_bytes(flipped(content, 8 * byte + byte % 8))
        with pytest.raises(DamagedFileError):
            load_torch(path)
    for changed in (content[:-1], content + b"\0", content[: len(content) // 2], b""):
        path.write_bytes(changed)
        with pytest.raises(DamagedFileError, match=r"model\.pt: .*damaged"):
            load_torch(path)


def test_a_file_of_torch_without_a_checksum_is_compared_with_the_crc_of_its_members(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.rand(5000)}, path)
    assert load_torch(path)["weight"].shape == (5000,)
    content = path.read_bytes()
    path.write_bytes(flipped(content, 8 * 10000 + 3))
    torch.load(path)  # torch sees nothing
    with pytest.raises(DamagedFileError):
        load_torch(path)


def test_a_checksum_in_the_name_is_compared(tmp_path):
    torch.save(CONTENT, tmp_path / "old", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old").read_bytes()
    path = tmp_path / f"vgg19-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    path.write_bytes(content)
    assert torch.equal(load_torch(path)["weight"], CONTENT["weight"])
    path.write_bytes(flipped(content, 8 * len(content) - 20))
    with pytest.raises(DamagedFileError):
        load_torch(path)


def test_a_file_that_cannot_be_written_is_one_line(path):
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"model\.pt/x\.pt: cannot be written"):
        save_torch(CONTENT, path / "x.pt")
    assert path.read_bytes() == before


def test_shipped_weights_have_a_checksum():
    assert len(SHIPPED) >= 5
    for shipped in SHIPPED:
        with zipfile.ZipFile(shipped) as archive:
            assert archive.comment.startswith(b"sha256:"), shipped
        assert load_torch(shipped)


@pytest.mark.slow
@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_a_flipped_bit_of_shipped_weights_is_refused(shipped, tmp_path):
    content, path = shipped.read_bytes(), tmp_path / "model.pt"
    draw = random.Random(0)
    for _ in range(200):
        path.write_bytes(flipped(content, draw.randrange(8 * len(content))))
        with pytest.raises(DamagedFileError):
            load_torch(path)
