"""The gallery page: what it says, that it is safe and complete HTML, and that all can read it."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from small_bundle import NAME, png, small_common, write_small_bundle  # noqa: F401

from tools.zoo.gallery import results_table
from tools.zoo.index import write_index
from tools.zoo.package import build_package

NASTY = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }} ${x}"
URL = "https://lab.example/zoo"
VOID = {"meta", "img", "br"}
ATTRIBUTES = {
    *("alt", "aria-label", "aria-labelledby", "charset", "class", "content", "download", "height", "href"),
    *("id", "lang", "name", "open", "role", "scope", "src", "tabindex", "width"),
}


class Page(HTMLParser):
    """A page's elements; closing tags must fit, and no attribute may run code."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        source = path.read_text(encoding="utf-8")
        self.style = source.partition("<style>")[2].partition("</style>")[0]
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.setdefault(tag, [])
        if tag not in VOID:
            self.open.append(tag)
            self.texts[tag].append("")
        assert {name for name, _ in attrs} <= ATTRIBUTES

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def values(self, attribute: str, *tags: str) -> list[str]:
        return [found[attribute] for tag, found in self.elements if attribute in found and (not tags or tag in tags)]

    @property
    def text(self) -> str:
        return self.texts["body"][0]


def page_of(tmp_path: Path, *bundles: Path, url: str = URL) -> Page:
    for bundle in bundles:
        build_package(bundle, tmp_path / "dist")
    write_index(tmp_path / "dist", url)
    return Page(tmp_path / "dist" / "index.html")


def test_all_texts_of_a_bundle_are_escaped(tmp_path: Path) -> None:
    keys = ("name", "task", "description", "intended_use", "data_source", "data_type", "authors")
    bundle = write_small_bundle(
        tmp_path,
        **dict.fromkeys(keys, NASTY),
        references=[NASTY],
        eval_metrics={NASTY: NASTY},
        changelog={"0.1.0": NASTY},
    )
    (bundle / "LICENSE").write_text(NASTY)
    (bundle / "docs" / "data_license.txt").write_text(NASTY)
    (bundle / "docs" / "README.md").write_text(
        f"# Performance\n![{NASTY}](example.png)\n\n{NASTY} `{NASTY}`\n\n|{NASTY}|\n|---|\n|`{NASTY}`|\n"
    )
    page = page_of(tmp_path, bundle)
    assert page.text.count(NASTY) == 18
    assert "script" not in page.texts
    assert NASTY in page.values("alt", "img")
    write_small_bundle(tmp_path / "other", "other_mri_reconstruction")
    both = page_of(tmp_path, tmp_path / "other" / "other_mri_reconstruction")
    assert both.text.count(NASTY) == 18 + 2  # tile: name and task


def test_page_is_accessible_and_needs_nothing_else(tmp_path: Path) -> None:
    names = ("first_mri_reconstruction", "second_ct_super_resolution", "third_mri_reconstruction")
    bundles = [write_small_bundle(tmp_path, name, name=f"Network {i}") for i, name in enumerate(names)]
    (bundles[1] / "docs" / "example.png").unlink()
    page = page_of(tmp_path, *bundles)
    tags = Counter(tag for tag, _ in page.elements)
    assert not {"script", "link", "iframe", "base", "form", "object"} & set(tags)
    assert not re.search(r"url\(|@import", page.style)
    assert page.elements[0] == ("html", {"lang": "en"})
    assert {"viewport", "color-scheme"} <= set(page.values("name", "meta"))
    assert tags["title"] == tags["h1"] == tags["main"] == tags["nav"] == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(below - above <= 1 for above, below in pairwise(levels))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert set(names) | set(page.values("aria-labelledby")) <= set(ids)
    assert {href[1:] for href in page.values("href") if href.startswith("#")} == set(names)
    for tag, attributes in page.elements:
        if tag == "img":
            assert (attributes["width"], attributes["height"]) == ("40", "30")
            assert "alt" in attributes
        if attributes.get("tabindex") and tag == "div":
            assert attributes["role"] == "region"
            assert attributes["aria-label"]
    assert [alt for alt in page.values("alt", "img") if alt] == [
        f"Example of what {name} gives." for name in (names[0], names[2])
    ]
    for address in page.values("href") + page.values("src"):
        if not address.startswith(("#", "https://")):
            assert (tmp_path / "dist" / unquote(address)).is_file()
    assert (tmp_path / "dist" / f"{names[0]}.png").read_bytes() == png(40, 30)


def test_card_says_what_the_bundle_is_and_how_to_use_it(tmp_path: Path) -> None:
    build_package(write_small_bundle(tmp_path, version="0.9.0"), tmp_path / "dist")
    changes = {"0.10.0": "more layers", "0.9.0": "the first, told anew"}
    package = build_package(write_small_bundle(tmp_path, version="0.10.0", changelog=changes), tmp_path / "dist")
    page = page_of(tmp_path)
    text = " ".join(page.text.split())
    for expected in (
        "Intended use: Tests only.",
        "On 3 slices of *synthetic* data, mean:",
        f"{NAME}, version 0.10.0",
        "Reconstruction of small images One layer.",
    ):
        assert expected in text
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert facts == {
        "psnr": "30.2",
        "Trained on": "none (https://example.org/none)",
        "Input": "1 channel (image), size any x 64, float32",
        "Licence": "Apache License, Version 2.0, January 2004",
        "References": "One, A. First. https://doi.org/10.1000/1. 2001.\nTwo, B. Second.",
    }
    assert page.texts["h3"] == ["Results", "Download and run", "Versions", "About"]
    assert page.texts["th"][:2] == ["image", "PSNR (dB)"]
    assert page.texts["td"][:4] == ["zero-filled", "20.1", "SmallNet", "30.2"]
    versions = page.texts["td"][4:]
    assert versions[:4] == ["0.10.0", f"zip, {package.path.stat().st_size / 1e3:.1f} kB", package.sha256, "more layers"]
    assert (versions[4], versions[7]) == ("0.9.0", "the first, told anew")
    links = [href for href in page.values("href") if href.startswith("https://")]
    assert links == ["https://example.org/none", "https://doi.org/10.1000/1", "https://example.org/licence"]
    run = f"python -m monai.bundle run --config_file {NAME}/configs/{{}} --dataset_dir DATA"
    install, download, check, infer, load, train, _licence = page.texts["pre"]
    assert install.split()[:5] == ["pip", "install", "monai==1.6.1", "torch==2.13.0", "numpy==2.4.6"]
    assert download == (f"python -m monai.bundle download --name {NAME} --url {URL}/{NAME}_v0.10.0.zip --bundle_dir .")
    assert shlex.split(check)[1] == f"{package.sha256}  {NAME}.zip"
    assert [infer, train] == [run.format("inference.json"), run.format("train.json")]
    compile(load, "load", "exec")


def test_untrained_bundle_is_not_offered_to_run(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path)
    for file in ("models/model.pt", "docs/README.md", "docs/data_license.txt"):
        (bundle / file).unlink()
    page = page_of(tmp_path, bundle)
    assert "No weights yet: train this version before use." in page.text
    assert "inference.json" not in page.text
    assert page.texts["pre"][-1].endswith("--dataset_dir DATA")
    assert "open" in dict(page.elements)["details"]  # the metadata's numbers are all there is
    assert page.texts["dd"][0] == "30.2"


def test_a_figure_that_is_no_png_is_refused(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path)
    for content in (b"\xff\xd8\xff no PNG", png(40, 30)[:50]):
        (bundle / "docs" / "example.png").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{NAME}_v0\.1\.0\.zip/docs/example\.png: .* a PNG image"):
            page_of(tmp_path, bundle)
        assert not (tmp_path / "dist" / "index.html").exists()


def test_results_table_is_the_first_of_its_section() -> None:
    readme = """
| not | this |
|---|---|
## Performance
Text before.

```
# Performance
| nor | this |
|---|---|
```
### On brains

Measured
[so](METRICS.md):

<!-- table: brains -->
| a \\| b | `c` |
| :-- | --: |
| 1 | 2 | 3 |
| 4 |
after

| second | table |
|---|---|
## Limitations
"""
    table = {"header": ["a | b", "`c`"], "rows": [["1", "2"], ["4", ""]]}
    assert results_table(readme) == {"intro": "Measured so:", **table}
    assert results_table(readme.replace("Measured\n[so](METRICS.md):", "")) == {"intro": "", **table}
    for without in ("", "## Performance", "| a |\n|---|\n", "## Performance\ntext | text\n## Next\n| a |\n|---|\n"):
        assert results_table(without) is None
