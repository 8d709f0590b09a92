"""What a browser would find in a page: elements, the text of scripts and cells, JSON blocks and pictures."""

import base64
import io
import json
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image


class Page(HTMLParser):
    """What a browser would find: elements with attributes, the text of scripts, styles and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self.open.append(tag)
        if tag == "td":
            self.cells.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        tag = self.open[-1] if self.open else ""
        if tag == "script":
            self.scripts[-1] += data
        elif tag == "style":
            self.styles.append(data)
        else:
            self.text += data
            if "td" in self.open:
                self.cells[-1] += data

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def block(page: Page, name: str) -> dict:
    """The content of a JSON block of the page."""
    (place,) = [place for place, script in enumerate(page.attributes("script")) if script.get("id") == name]
    return json.loads(page.scripts[place], parse_constant=pytest.fail)


def codes_of(map_: tuple[str, int]) -> np.ndarray:
    """The codes of a lossless map, which must have the checksum that goes with it."""
    uri, checksum = map_
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert (picture == picture[..., :1]).all()
    codes = picture[..., 0]
    assert zlib.adler32(codes.tobytes()) == checksum
    return codes
