"""`python -m tools zoo push`: share a bundle through a repository on Hugging Face, by MONAI's own function."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from monai.bundle import push_to_hf_hub

from tools.command import command
from tools.zoo.layout import checked_version, find_bundle
from tools.zoo.package import stage_bundle
from tools.zoo.verify import print_check, verify_bundle

_FOLDERS = ("common", "configs", "docs", "models", "scripts")
_LATEST = "latest_version"  # the tag that `monai.bundle.download` asks for


@command
def push(name: str, repo: str, token: str = "", private: bool = True, verify: bool = True) -> str:
    """Push a packaged bundle to a Hugging Face repository, tagged with its version.

    Needs the package huggingface_hub: `pip install recon-bundles[hub]`.

    Args:
        name: name of a bundle in this repository, or the path of a bundle's folder.
        repo: ORG/NAME; made if it is not there.
        token: access token of Hugging Face; better put it into the environment variable HF_TOKEN, since other users
            of a machine see command lines. Without both, that of `hf auth login`.
        private: make a new repository for its members only; `--noprivate` shows it to all.
        verify: push only a bundle that passes `zoo verify`; `--noverify` pushes without.
    """
    bundle = find_bundle(str(name))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(repo)):
        raise ValueError(f"repo must be ORG/NAME, got {repo!r}")
    try:
        import huggingface_hub
    except ImportError:
        raise ValueError("push needs the package huggingface_hub: pip install recon-bundles[hub]") from None
    if verify:
        found = verify_bundle(str(bundle), report=print_check)
        if failed := [check for check in found if check.status == "fail"]:
            raise ValueError(
                f"{bundle.name} was not pushed, {len(failed)} of {len(found)} checks failed, first {failed[0].name}: "
                f"{failed[0].detail}; correct it, or push all the same with --noverify"
            )
    secret, version = str(token) or os.environ.get("HF_TOKEN", ""), checked_version(bundle)
    api = huggingface_hub.HfApi(token=secret or None)
    try:
        tags = {tag.name for tag in api.list_repo_refs(repo).tags} if api.repo_exists(repo) else set()
        if version in tags:
            raise ValueError("the repository has this version already; raise `version` in metadata.json")
        with tempfile.TemporaryDirectory() as temporary:
            stage_bundle(bundle, Path(temporary))
            url = push_to_hf_hub(
                repo=repo,
                name=bundle.name,
                bundle_dir=temporary,
                token=secret or None,
                private=private,
                version=version,
                commit_message=f"{bundle.name} {version}",
                delete_patterns=[f"{part}/*" for part in _FOLDERS],  # files that the new version has no more
            )
        if _LATEST in tags:  # MONAI leaves a tag where it is
            api.delete_tag(repo, tag=_LATEST)
        api.create_tag(repo, tag=_LATEST)
    except Exception as error:  # of huggingface_hub, or of the HTTP client under it
        reason = f"{type(error).__name__}: {error}"
        reason = reason.replace(secret, "***") if secret else reason
        raise ValueError(f"{bundle.name} {version} was not pushed to {repo}: {reason}") from None
    options = f"--name {bundle.name} --source huggingface_hub --repo {repo} --bundle_dir ."
    return f"pushed to {url}\npython -m monai.bundle download {options}"
