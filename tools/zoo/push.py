"""Sharing a bundle through a repository on Hugging Face."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.command import command
from tools.zoo.layout import bundle_version, find_bundle
from tools.zoo.package import stage_bundle
from tools.zoo.probe import Check
from tools.zoo.verify import verify_bundle

_FOLDERS = ("common", "configs", "docs", "models", "scripts")
_LATEST = "latest_version"  # the tag that `monai.bundle.download` asks for


@command
def push(name: str, repo: str, token: str = "", private: bool = True, verify: bool = True) -> str:
    """Push a packaged bundle to a Hugging Face repository, tagged with its version.

    Needs the package huggingface_hub: `pip install recon-bundles[hub]`.

    Args:
        name: of a bundle in this repository, or the path of a bundle's folder.
        repo: ORG/NAME; made if it is not there.
        token: of Hugging Face; better put it into the environment variable HF_TOKEN, since other users of a machine
            see command lines. Without both, that of `hf auth login`.
        private: whether a new repository is for its members only; `--noprivate` shows it to all.
        verify: whether the bundle must pass `zoo verify` first; `--noverify` pushes without.
    """
    bundle = find_bundle(str(name))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(repo)):
        raise ValueError(f"repo must be ORG/NAME, got {repo!r}")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ValueError("push needs the package huggingface_hub: pip install recon-bundles[hub]")
    if verify:
        _check(bundle)
    url = push_bundle(bundle, repo, str(token) or os.environ.get("HF_TOKEN", ""), private=private)
    options = f"--name {bundle.name} --source huggingface_hub --repo {repo} --bundle_dir ."
    return f"pushed to {url}\npython -m monai.bundle download {options}"


def push_bundle(bundle: Path, repo: str, token: str = "", *, private: bool = True) -> str:
    """Push what a package holds with MONAI's own function; the bundle's folder stays as it is.

    Files of an older version that the new one has no more go from the repository's main branch. The tag of the version
    stays where it is for good; the tag `latest_version` moves to it.

    Args:
        bundle: its folder.
        repo: ORG/NAME.
        token: of Hugging Face; empty for the one that is stored. It is not shown in errors.
        private: whether a new repository is for its members only.

    Returns:
        Where it is.

    Raises:
        ValueError: the repository has this version already, or Hugging Face refuses or is not reached.
    """
    from huggingface_hub import HfApi  # an extra
    from monai.bundle import push_to_hf_hub  # takes seconds to import

    version, api = bundle_version(bundle), HfApi(token=token or None)
    with _errors_in_one_line(f"{bundle.name} {version} was not pushed to {repo}", token):
        tags = {tag.name for tag in api.list_repo_refs(repo).tags} if api.repo_exists(repo) else set()
    if version in tags:
        raise ValueError(
            f"{repo} has version {version} of {bundle.name} already; raise `version` in configs/metadata.json"
        )
    with tempfile.TemporaryDirectory() as temporary:
        staged = stage_bundle(bundle, Path(temporary))
        with _errors_in_one_line(f"{bundle.name} {version} was not pushed to {repo}", token):
            url = push_to_hf_hub(
                repo=repo,
                name=staged.name,
                bundle_dir=temporary,
                token=token or None,
                private=private,
                version=version,
                commit_message=f"{staged.name} {version}",
                delete_patterns=[f"{folder}/*" for folder in _FOLDERS],
            )
            if _LATEST in tags:  # MONAI leaves a tag where it is
                api.delete_tag(repo, tag=_LATEST)
            api.create_tag(repo, tag=_LATEST)
    return str(url)


def _check(bundle: Path) -> None:
    """Refuse a bundle that does not pass.

    Raises:
        ValueError: with the first check that failed.
    """
    found = verify_bundle(str(bundle), report=_print)
    failed = [check for check in found if check.status == "fail"]
    if failed:
        raise ValueError(
            f"{bundle.name} was not pushed, {len(failed)} of {len(found)} checks failed, first {failed[0].name}: "
            f"{failed[0].detail}; mend it, or push all the same with --noverify"
        )


def _print(check: Check) -> None:
    sys.stdout.write(f"{check.status}  {check.name}\n")
    sys.stdout.flush()


@contextmanager
def _errors_in_one_line(consequence: str, token: str) -> Iterator[None]:
    """Errors of huggingface_hub and of the HTTP client under it become a ValueError without the token."""
    try:
        yield
    except Exception as error:  # which client it is depends on its version
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{consequence}: {reason.replace(token, '***') if token else reason}") from None
