"""Gallery of packaged bundles: one static page, with the figures beside it."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from common.io.atomic import atomic_path
from tools.zoo.readme import ResultsTable, figure_caption, results_table
from tools.zoo.release import Release

_LINK = re.compile(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:)\]])")
_LOAD = """from monai.bundle import load
network = load("{name}", bundle_dir=".", workflow_type="inference")"""
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Figure:
    """A PNG file beside the page."""

    file: str
    content: bytes
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class Card:
    """Content of the page for one bundle; texts come from the newest release."""

    newest: Release
    releases: Sequence[Release]
    figure: Figure | None
    results: ResultsTable | None
    metrics: Mapping[str, str]
    facts: Mapping[str, str]
    steps: Sequence[tuple[str, str]]

    @property
    def title(self) -> str:
        """Name for people."""
        return self.text("name") or self.newest.name

    def text(self, key: str) -> str:
        """Return a text of the metadata; empty if there is none."""
        value = self.newest.metadata.get(key, "")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def change(self, release: Release) -> str:
        """Return the entry of the newest changelog for a release, or else that of its own."""
        logs = [read.metadata.get("changelog") for read in (self.newest, release)]
        return next((str(log[release.version]) for log in logs if isinstance(log, dict) and release.version in log), "")


def write_gallery(folder: Path, releases: Mapping[str, Sequence[Release]], url: str) -> Path:
    """Write index.html and the figures that it shows, NAME.png.

    Args:
        folder: folder of the zips.
        releases: releases by bundle, the newest first.
        url: address where the folder will be found.

    Returns:
        The path of the page.

    Raises:
        ValueError: a figure is not PNG.
    """
    cards = [_card(versions, url) for versions in releases.values()]
    for figure in (card.figure for card in cards):
        if figure:
            with atomic_path(folder / figure.file) as temporary:
                temporary.write_bytes(figure.content)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(readable_size=_readable_size, linked=_linked, inline=_inline, unbroken=_unbroken)
    html = environment.get_template("gallery.html").render(cards=cards, url=url)
    with atomic_path(folder / "index.html") as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return folder / "index.html"


def _card(releases: Sequence[Release], url: str) -> Card:
    newest = releases[0]
    metrics = newest.metadata.get("eval_metrics")
    return Card(
        newest=newest,
        releases=releases,
        figure=_figure(newest),
        results=results_table(newest.texts.get("docs/README.md", "")),
        metrics={str(key): str(value) for key, value in metrics.items()} if isinstance(metrics, dict) else {},
        facts={label: text for label, text in _facts(newest).items() if text},
        steps=_steps(newest, url),
    )


def _figure(release: Release) -> Figure | None:
    if not release.figure:
        return None
    try:
        with Image.open(io.BytesIO(release.figure), formats=["PNG"]) as image:
            width, height = image.size
            image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{release.file}: expected a PNG image in docs/example.png: {error}; draw it again") from None
    caption = figure_caption(release.texts.get("docs/README.md", "")) or f"Example of what {release.name} gives."
    return Figure(f"{release.name}.png", release.figure, width, height, caption)


def _facts(release: Release) -> dict[str, str]:
    metadata = release.metadata
    formats = metadata.get("network_data_format", {})
    references = metadata.get("references", [])
    return {
        "Trained on": str(metadata.get("data_source", "")),
        "Reads": str(metadata.get("data_type", "")),
        "Input": _channels(formats, "inputs", "image"),
        "Output": _channels(formats, "outputs", "pred"),
        "Licence": _first_lines(release.texts.get("LICENSE", "")),
        "Authors": str(metadata.get("authors", "")),
        "References": "\n".join(map(str, references if isinstance(references, list) else [references])),
    }


def _channels(formats: Any, side: str, name: str) -> str:
    """Describe the network's input or output, such as `3 channels (real, imaginary, mask), any x any, float32`."""
    try:
        array = formats[side][name]
        sizes = ["any" if size == "*" else str(size) for size in array["spatial_shape"]]
        channels = ", ".join(map(str, array.get("channel_def", {}).values()))
        count = "1 channel" if array["num_channels"] == 1 else f"{array['num_channels']} channels"
        return f"{count} ({channels}), size {' x '.join(sizes)}, {array['dtype']}"
    except (KeyError, TypeError, AttributeError):  # metadata of another kind
        return ""


def _first_lines(license_text: str) -> str:
    """Return the first two lines of a licence, which name it."""
    lines = [line.strip() for line in license_text.splitlines() if line.strip()]
    return ", ".join(lines[:2])


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


def _readable_size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _linked(text: str) -> Markup:
    """Escape a text, with web addresses as links."""
    return _marked(_LINK.split(text), '<a href="{0}">{0}</a>')


def _inline(text: str) -> Markup:
    """Escape a text, with `code` of Markdown as code."""
    return _marked(_CODE.split(text), "<code>{}</code>")


def _marked(parts: Sequence[str], element: str) -> Markup:
    """Put every other part into an element."""
    return Markup("").join(Markup(element).format(part) if i % 2 else escape(part) for i, part in enumerate(parts))


def _unbroken(line: str) -> Markup:
    """Escape a line that is broken between words only, never at the hyphens of an option."""
    return Markup(" ").join(Markup('<span class="keep">{}</span>').format(word) for word in line.split(" "))
