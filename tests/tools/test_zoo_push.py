"""Pushing to Hugging Face: what is uploaded and tagged, and what happens when it is refused. The hub is a stand-in."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from small_bundle import NAME, small_common, write_small_bundle  # noqa: F401

from tools.command import run_commands
from tools.zoo import push as push_module
from tools.zoo.package import stage_bundle
from tools.zoo.probe import Check

huggingface_hub = pytest.importorskip("huggingface_hub", reason="pip install recon-bundles[hub]")
TOKEN = "hf_secretsecretsecret"
REPO = "lab/small"


class Hub:
    """Takes the place of `huggingface_hub.HfApi`, whose signatures it keeps, and notes what is asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tags: str, error: Exception | None = None) -> None:
        self.tokens: set[str | None] = set()
        self.files: dict[str, bytes] = {}
        self.tags = set(tags)
        self.api = create_autospec(huggingface_hub.HfApi, instance=True)
        self.api.repo_exists.return_value = bool(tags)
        self.api.list_repo_refs.side_effect = lambda repo: SimpleNamespace(
            tags=[SimpleNamespace(name=name) for name in self.tags]
        )
        self.api.delete_tag.side_effect = lambda repo, tag: self.tags.remove(tag)
        self.api.create_tag.side_effect = self._create_tag
        self.api.upload_folder.side_effect = error or self._upload
        monkeypatch.setattr(huggingface_hub, "HfApi", self._connect)
        monkeypatch.setenv("HF_TOKEN", TOKEN)

    def _connect(self, token: str | None = None) -> Any:
        self.tokens.add(token)
        return self.api

    def _upload(self, *, folder_path: str, **_: object) -> str:
        root = Path(folder_path)
        self.files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        return f"https://huggingface.co/{REPO}"

    def _create_tag(self, repo_id: str, *, tag: str, exist_ok: bool = False) -> None:
        if tag in self.tags and not exist_ok:
            raise RuntimeError("409 the tag exists")
        self.tags.add(tag)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path)


def push(*arguments: object) -> int:
    return run_commands({"push": push_module.push}, "zoo", ["push", *map(str, arguments)])


def test_the_package_is_uploaded_and_tagged(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = Hub(monkeypatch)
    assert push(bundle, "--repo", REPO, "--noverify") == 0
    staged = stage_bundle(bundle, tmp_path / "staged")
    expected = {p.relative_to(staged).as_posix(): p.read_bytes() for p in staged.rglob("*") if p.is_file()}
    card = hub.files.pop("README.md").decode()
    assert hub.files == expected
    assert card.startswith("---\ntags:\n- monai\n")
    assert card.endswith(expected["docs/README.md"].decode())
    hub.api.create_repo.assert_called_once_with(repo_id=REPO, private=True, exist_ok=True)
    assert hub.tags == {"0.1.0", "latest_version"}
    assert hub.tokens == {TOKEN}
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"pushed to https://huggingface.co/{REPO}",
        f"python -m monai.bundle download --name {NAME} --source huggingface_hub --repo {REPO} --bundle_dir .",
    ]
    assert TOKEN not in captured.out + captured.err + str(hub.files)


def test_a_new_version_replaces_the_old_one_but_not_its_tag(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = Hub(monkeypatch, "0.0.9", "latest_version")
    monkeypatch.delenv("HF_TOKEN")
    assert push(bundle, "--repo", REPO, "--noverify", "--noprivate") == 0
    hub.api.create_repo.assert_called_once_with(repo_id=REPO, private=False, exist_ok=True)
    assert hub.tokens == {None}  # the one that huggingface_hub has stored
    assert hub.tags == {"0.0.9", "0.1.0", "latest_version"}
    calls = [call[0] for call in hub.api.method_calls]
    assert calls.index("upload_folder") < calls.index("delete_tag")
    options = hub.api.upload_folder.call_args.kwargs
    assert "common/*" in options["delete_patterns"]
    assert options["commit_message"] == f"{NAME} 0.1.0"
    hub.api.upload_folder.reset_mock()
    assert push(bundle, "--repo", REPO, "--noverify") == 1
    assert "the repository has this version already" in capsys.readouterr().err
    hub.api.upload_folder.assert_not_called()


def test_a_failing_upload_is_one_line_without_the_token(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Hub(monkeypatch, error=RuntimeError(f"401 Unauthorized\nfor url, token {TOKEN} is wrong"))
    assert push(bundle, "--repo", REPO, "--noverify") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {NAME} 0.1.0 was not pushed to {REPO}: RuntimeError: ")
    assert captured.err.count("\n") == 1
    assert TOKEN not in captured.err


def test_only_what_passes_verification_is_pushed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = Hub(monkeypatch)
    for status in ("fail", "pass"):
        check = Check("weights", status, "expected numbers, got none", 0.1)
        monkeypatch.setattr(push_module, "verify_bundle", lambda target, report, check=check: [check])
        assert push(bundle, "--repo", REPO) == (status == "fail")
        assert hub.api.upload_folder.call_count == (status == "pass")
    error = capsys.readouterr().err
    assert f"{NAME} was not pushed, 1 of 1 checks failed, first weights: expected numbers, got none" in error


def test_missing_package_and_wrong_repository_are_one_line(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for repo in ("small", "lab/small/more", "lab/"):
        assert push(bundle, "--repo", repo) == 1
        assert capsys.readouterr().err == f"error: repo must be ORG/NAME, got {repo!r}\n"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert push(bundle, "--repo", REPO) == 1
    message = "error: push needs the package huggingface_hub: pip install recon-bundles[hub]\n"
    assert capsys.readouterr().err == message
