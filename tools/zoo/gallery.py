"""Gallery of packaged bundles: one static page, with the figures beside it."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape
from PIL import Image

from common.errors import file_errors
from common.io.atomic import atomic_path
from tools.zoo.release import Release

_LINK = re.compile(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:)\]])")
_CODE = re.compile(r"`([^`]+)`")
_LOAD = """from monai.bundle import load
network = load("{name}", bundle_dir=".", workflow_type="inference")"""
_CAPTION = re.compile(r"!\[([^\]]+)\]\([^)]*example\.png\)")
_NOT_SHOWN = re.compile(r"^```.*?^```|<!--.*?-->", re.DOTALL | re.MULTILINE)
_PERFORMANCE = re.compile(r"^(#+) +performance\s*$", re.IGNORECASE | re.MULTILINE)
_TABLE = re.compile(r"((?:^(?![#|])\S.*\n)*)\s*^(\|.*)\n\|[-:| ]*-[-:| ]*\n((?:^\|.*\n?)*)", re.MULTILINE)


def write_gallery(folder: Path, releases: Mapping[str, Sequence[Release]], url: str) -> None:
    """Write index.html and the figures that it shows, NAME.png, into the folder of the zips, to be found at a URL.

    Releases are by bundle, the newest first.

    Raises:
        ValueError: a figure is not PNG.
    """
    cards = [_card(versions, url) for versions in releases.values()]
    for card in cards:
        if card["figure"]:
            with atomic_path(folder / card["figure"]["file"]) as temporary:
                temporary.write_bytes(card["newest"].figure)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        readable_size=lambda size: f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB",
        linked=lambda text: _marked(_LINK.split(text), '<a href="{0}">{0}</a>'),
        inline=lambda text: _marked(_CODE.split(text), "<code>{}</code>"),
        unbroken=lambda line: Markup(" ").join(
            Markup('<span class="keep">{}</span>').format(word) for word in line.split(" ")
        ),
    )
    html = environment.get_template("gallery.html").render(cards=cards)
    with atomic_path(folder / "index.html") as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")


def results_table(readme: str) -> dict[str, Any] | None:
    """Return intro, header and rows of the first table under the heading Performance; None if there is none."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", _NOT_SHOWN.sub("", readme))  # a link becomes its text
    heading = _PERFORMANCE.search(text)
    if heading is None:
        return None
    section = re.split(rf"^#{{1,{len(heading[1])}}} ", text[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    found = _TABLE.search(section)
    if found is None:
        return None
    lines = [line.strip().removeprefix("|").removesuffix("|") for line in (found[2], *found[3].splitlines())]
    header, *rows = ([cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)] for line in lines)
    rows = [(row + [""] * len(header))[: len(header)] for row in rows]
    return {"intro": " ".join(found[1].split()), "header": header, "rows": rows}


def _card(releases: Sequence[Release], url: str) -> dict[str, Any]:
    """Return the content of the page for one bundle; texts come from the newest release."""
    newest = releases[0]
    metadata, readme = newest.metadata, newest.texts.get("docs/README.md", "")
    changes = [
        str({**release.metadata["changelog"], **metadata["changelog"]}.get(release.version, "")) for release in releases
    ]
    return {
        "newest": newest,
        "metadata": metadata,
        "title": str(metadata.get("name") or newest.name),
        "releases": list(zip(releases, changes, strict=True)),
        "figure": _figure(newest, readme) if newest.figure else None,
        "results": results_table(readme),
        "facts": {label: text for label, text in _facts(newest).items() if text},
        "steps": _steps(newest, url),
    }


def _figure(release: Release, readme: str) -> dict[str, Any]:
    with (
        file_errors(Path(release.file) / "docs" / "example.png", "a PNG image"),
        Image.open(io.BytesIO(release.figure), formats=["PNG"]) as image,
    ):
        width, height = image.size
        image.verify()
    found = _CAPTION.search(readme)
    caption = found[1] if found else f"Example of what {release.name} gives."
    return {"file": f"{release.name}.png", "width": width, "height": height, "caption": caption}


def _facts(release: Release) -> dict[str, str]:
    metadata = release.metadata
    formats = metadata.get("network_data_format", {})
    licence = [line.strip() for line in release.texts.get("LICENSE", "").splitlines() if line.strip()]
    return {
        "Trained on": str(metadata.get("data_source", "")),
        "Reads": str(metadata.get("data_type", "")),
        "Input": _channels(formats.get("inputs", {}).get("image")),
        "Output": _channels(formats.get("outputs", {}).get("pred")),
        "Licence": ", ".join(licence[:2]),  # the lines that name it
        "Authors": str(metadata.get("authors", "")),
        "References": "\n".join(map(str, metadata.get("references", []))),
    }


def _channels(tensor: Mapping[str, Any] | None) -> str:
    """Describe the network's input or output, such as `3 channels (real, imaginary, mask), any x any, float32`."""
    if tensor is None:
        return ""
    sizes = " x ".join("any" if size == "*" else str(size) for size in tensor["spatial_shape"])
    count = "1 channel" if tensor["num_channels"] == 1 else f"{tensor['num_channels']} channels"
    return f"{count} ({', '.join(map(str, tensor['channel_def'].values()))}), size {sizes}, {tensor['dtype']}"


def _steps(release: Release, url: str) -> list[tuple[str, str]]:
    """Return the way from an empty folder to results, (purpose, command line or Python); `url` is the zip's folder."""
    name, has, metadata = release.name, release.members.__contains__, release.metadata
    keys = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    wanted = {package: metadata.get(key) for package, key in keys.items()}
    wanted |= {**metadata.get("required_packages_version", {}), **metadata.get("optional_packages_version", {})}
    packages = [f"{package}=={version}" for package, version in wanted.items() if version]
    checksum = shlex.quote(f"{release.sha256}  {name}.zip")
    steps = [
        ("Install what it was tested with", shlex.join(["pip", "install", *packages])),
        ("Download", _monai("download", name=name, url=f"{url}/{release.file}", bundle_dir=".")),
        ("Check that it is whole", f"echo {checksum} | sha256sum --check"),
    ]
    if has("large_files.yml"):
        steps.append(("Fetch its large files", _monai("download_large_files", bundle_path=name)))
    if release.has_weights and has("configs/inference.json"):
        inference = _monai("run", config_file=f"{name}/configs/inference.json", dataset_dir="DATA")
        steps.append(("Run it on the data in the folder DATA", inference))
        steps.append(("Or take the network into Python", _LOAD.format(name=name)))
    if has("configs/train.json"):
        training = _monai("run", config_file=f"{name}/configs/train.json", dataset_dir="DATA")
        steps.append(("Train it on DATA, laid out as its docs/README.md says", training))
    return steps


def _monai(command: str, **options: str) -> str:
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    return shlex.join(["python", "-m", "monai.bundle", command, *words])


def _marked(parts: Sequence[str], element: str) -> Markup:
    """Put every other part into an element."""
    return Markup("").join(Markup(element).format(part) if i % 2 else escape(part) for i, part in enumerate(parts))
