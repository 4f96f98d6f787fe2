"""Whether a refusal says that nothing is at the path, and so that the base URL is wrong, rather than the request."""

import re

from ai_gateway.providers.http.errors import read_complaint

# What servers and frameworks say of a path that they do not have: nginx and Go, FastAPI, Express, Spring, OpenAI
# ("Invalid URL (POST /v1/v1/...)"), LM Studio ("Unexpected endpoint or method"), Anthropic and Google.
_NO_PATH = re.compile(
    r"(?:404 )?(?:page |file |url |path |route |endpoint |resource |requested entity was |the requested url was )?"
    r"not found\.?|(?:error )?404|invalid url\b.*|cannot (?:get|post)\b.*|unexpected endpoint\b.*|method not allowed\.?"
    r"|(?:unknown|unrecognized|unsupported|no such|no matching) (?:request )?(?:url|path|route|endpoint|operation)\b.*"
    r"|no (?:route|path|endpoint|handler)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST_PLAIN = 200


def is_wrong_path(status: int, body: bytes) -> bool:
    """Whether a reply with this status and body is what a server says of a path that it does not have."""
    if status not in {404, 405}:
        return False
    if looks_like_html(body):
        return True
    said = (read_complaint(body).message or "").strip()
    if not said and not body.lstrip().startswith((b"{", b"[")):
        said = body[:_LONGEST_PLAIN].decode("utf-8", "replace").strip()
    return bool(_NO_PATH.fullmatch(said))


def looks_like_html(body: bytes) -> bool:
    """Whether it is a web page, whatever it calls itself."""
    return body[:64].lstrip().lower().startswith((b"<!doctype", b"<html"))
