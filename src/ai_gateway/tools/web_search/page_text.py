"""The program that `pages` starts for each HTML page: extracts its text.

A page of 40 kB may have its parser make gigabytes, because HTML has elements that are still open made again in each
paragraph (html.spec.whatwg.org, "Reconstruct the active formatting elements"), and deep nesting takes quadratic time. A
process with limits protects the gateway from that. Input is the page, output JSON with `title` and `text`.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MEMORY = 160 * 2**20
"""The process's memory limit in bytes. An ordinary page of 2 MB takes a third of it."""
CPU_S = 2
_UNREAD = "script, style, noscript, template, svg, iframe, nav, footer, aside, form, [hidden], [aria-hidden=true]"
_BLOCKS = frozenset(
    {
        *("address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table"),
        *("td", "th", "tr", "ul"),
    }
)


def text_of(data: bytes) -> tuple[str, str]:
    """Title and text of a page."""
    from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415 - an extra, for those who fetch pages

    page = LexborHTMLParser(data)
    title = page.css_first("title")
    name = " ".join(title.text().split()) if title is not None else ""
    for node in page.css(_UNREAD):
        node.decompose()
    return name, _text(page)


def _text(page: "LexborHTMLParser") -> str:
    """The text, with one line for each block."""
    root = page.css_first("main") or page.css_first("article") or page.body
    if root is None:
        return ""
    lines = "".join(_pieces(root)).split("\n")
    kept = [" ".join(line.split()) for line in lines]
    return "\n".join(line for line in kept if line)


def _pieces(root: "LexborNode") -> Iterator[str]:
    for node in root.traverse(include_text=True):
        if node.tag == "-text":
            yield (node.text(deep=False) or "").replace("\n", " ")
        elif node.tag in _BLOCKS:
            yield "\n"


def _limit() -> None:
    """Set limits and a low priority for this process, where supported."""
    with suppress(AttributeError, OSError):
        os.nice(10)
    with suppress(ImportError):
        import resource  # noqa: PLC0415 - not on every platform

        for name, most in (("AS", MEMORY), ("CPU", CPU_S), ("FSIZE", 0), ("CORE", 0)):
            with suppress(AttributeError, OSError, ValueError):  # not supported, or a lower limit is set already
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


def main() -> None:
    """Read the page from standard input, and write its text."""
    _limit()
    title, text = text_of(sys.stdin.buffer.read())
    sys.stdout.write(json.dumps({"title": title, "text": text}))


if __name__ == "__main__":
    main()
