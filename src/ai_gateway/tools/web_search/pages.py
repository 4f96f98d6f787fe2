"""Pages of the web as text: fetched from public addresses, and stripped of what is not to be read."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ai_gateway.providers.http.egress import Egress, Fetched, NotFetched
from ai_gateway.tools.tool import Citation, Result
from ai_gateway.tools.web_search.results import NOTICE, quoted

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MOST = 2 * 2**20
"""Bytes of a page."""
KINDS = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown")
_UNREAD = "script, style, noscript, template, svg, iframe, nav, footer, aside, form, [hidden], [aria-hidden=true]"
_BLOCKS = frozenset(
    {
        *("address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table"),
        *("td", "th", "tr", "ul"),
    }
)


class NotRead(Exception):
    """A page that could not be read. The text is for a model to read, and says nothing of what is where."""


class Pages:
    """Reads pages through `egress`, which knows what may be reached."""

    def __init__(self, egress: Egress | None = None) -> None:
        self._egress = egress or Egress()

    async def read(self, url: str, seconds: float) -> Result:
        """The text of a page. Raises NotRead."""
        try:
            async with asyncio.timeout(seconds):
                fetched = await self._egress.page(url, KINDS, MOST)
        except (NotFetched, TimeoutError) as error:
            raise NotRead("The page could not be fetched, or is no text.") from error
        title, text = await asyncio.to_thread(text_of, fetched)
        if not text.strip():
            raise NotRead("The page has no text.")
        title = title or url
        return Result(f"{NOTICE}\n\n[1] {title}\n{url}\n{quoted(text)}", citations=(Citation(url, title),))


def text_of(fetched: Fetched) -> tuple[str, str]:
    """Title and text of a page."""
    if fetched.media_type.startswith("text/") and fetched.media_type != "text/html":
        return "", fetched.data.decode("utf-8", "replace")
    from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415 - an extra, for those who fetch pages

    page = LexborHTMLParser(fetched.data)
    title = page.css_first("title")
    name = " ".join(title.text().split()) if title is not None else ""
    for node in page.css(_UNREAD):
        node.decompose()
    return name, _text(page)


def _text(page: "LexborHTMLParser") -> str:
    """The text in lines: one for each block."""
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
