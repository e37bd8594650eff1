"""What tests of pages share: where a link may lead."""

from __future__ import annotations

import re


def anchors(page: str) -> set[str]:
    """What GitHub makes of a page's titles."""
    titles = re.findall(r"^#+ (.*)$", page, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
