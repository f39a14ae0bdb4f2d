"""Reads an HTML page of ours, and sees that it stands alone."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "link"}
SELF_CLOSED = {"path", "use", "rect", "image"}


class Page(HTMLParser):
    """What a page holds: tags, text, images and their alternative texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.images: dict[str, list[bytes]] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attributes)
        for name, value in attributes:
            assert name not in ("srcset", "action", "data")
            assert not name.startswith("on")
            if name == "href":
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,"))
            if name == "src":
                assert value is not None
                kind, _, data = value.partition(",")
                assert kind in ("data:image/webp;base64", "data:image/png;base64")
                self.images.setdefault(str(values["alt"]), []).append(base64.b64decode(data, validate=True))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


def check_page(path: Path) -> Page:
    """The page, which is well-formed, small, and takes nothing from elsewhere."""
    source = path.read_text(encoding="utf-8")
    assert len(source.encode()) < 3_000_000
    page = Page()
    page.feed(source)
    page.close()
    assert page.open == []
    assert not {"link", "iframe", "base"} & set(page.tags)
    assert not re.search(r"url\((?!#)|@import|https?:|<script src", source)
    assert "prefers-color-scheme: dark" in source
    assert 'name="viewport"' in source
    return page
