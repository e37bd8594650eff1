"""What any page must hold to: read by the standard library's parser, told as faults in words."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input", "hr"}
OUTSIDE = re.compile(r"(?:https?:)?//[a-z]", re.IGNORECASE)


class Page(HTMLParser):
    """A page's elements in order, and what is wrong with them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        self._whole()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.seen.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        for name in ("href", "src"):
            value = values.get(name) or ""
            if value.startswith("#"):
                self.links.append(value[1:])
            elif value and not value.startswith("data:"):
                self.faults.append(f"{tag} leads outside: {value[:60]}")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "th" and values.get("scope") not in ("row", "col"):
            self.faults.append("a heading of a table without scope")
        if tag == "img" and not values.get("alt"):
            self.faults.append("a picture without words")
        if tag == "svg" and not (values.get("role") == "img" and values.get("aria-label")):
            self.faults.append("a figure without a name")
        if tag in ("section", "nav") and not (values.get("aria-label") or values.get("aria-labelledby")):
            self.faults.append(f"a {tag} without a name")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes what is not open")

    def handle_data(self, data):
        self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(seen == tag for seen, _ in self.seen)

    def _whole(self) -> None:
        if self.open:
            self.faults.append(f"never closed: {self.open}")
        if self.headings.count(1) != 1 or self.headings[0] != 1:
            self.faults.append("not one h1, first")
        self.faults += [f"h{b} after h{a}" for a, b in zip(self.headings, self.headings[1:], strict=False) if b > a + 1]
        self.faults += [f"id {i} twice" for i in set(self.ids) if self.ids.count(i) > 1]
        self.faults += [f"#{link} leads nowhere" for link in self.links if link not in self.ids]
        if self.count("svg") != self.count("figure") or self.count("desc") != self.count("svg"):
            self.faults.append("a figure without words")
        if self.count("caption") != self.count("table"):
            self.faults.append("a table without a caption")


def faults(text: str) -> list[str]:
    """What is wrong with a page, in words."""
    found = Page(text).faults
    without = re.sub(r"data:[a-z/]+;base64,[A-Za-z0-9+/=]+", "", text)
    found += ["an address of the network"] if OUTSIDE.search(without.replace("// ", "")) else []
    found += [f"a number that is none: {word}" for word in re.findall(r'="[^"]*\b(?:nan|inf)\b[^"]*"', text)][:3]
    return found + (["3 MB or more"] if len(text.encode()) >= 3_000_000 else [])


def palettes(css: str) -> dict[str, dict[str, str]]:
    """The colours by name, of the light scheme and of the dark one."""
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return {name: dict(re.findall(r"--(\w+): (#\w{6})", part)) for name, part in (("light", light), ("dark", dark))}


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, #rrggbb.

    Source: Web Content Accessibility Guidelines 2.2, contrast ratio and relative luminance.
    """
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
