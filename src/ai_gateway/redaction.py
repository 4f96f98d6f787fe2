"""Redaction: API keys are removed from everything that leaves the gateway, such as log records, errors and headers.

Code that starts to use a key passes it to `remember` once; each output passes its texts to `redact`. A key is found
regardless of case (header names lose theirs), as base64 and hex at any alignment, percent-encoded and with JSON
escapes; and by a part of it, because upstreams quote beginnings and parsers cut lines.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

MARK = "[key]"
SHORTEST = 8  # shorter ones would match in ordinary words
_WINDOW = 12  # characters of a key that give it away; upstreams quote about as many
_STEP = 6
_CACHED = 512  # characters; shorter texts repeat: paths, names of headers, usual messages
_MAX_LENGTH = 16 * 1024  # characters of one text; the rest is cut off
_MAX_WORDS_LENGTH = 2_000  # characters of an upstream's words
_MAX_DEPTH = 20
_ROUNDS = 3  # layers of encoding around a key
_RUN = re.compile(rb"[^\s\"',;:(){}\[\]<>=&?]+")
_BEGINS_AS_JSON = re.compile(r'[{"]|\[\s*[{\["\d-]')
_ESCAPE = re.compile(rb"\\{1,8}(?:u00|x)([0-9a-fA-F]{2})")

type _Place = tuple[bytes, int]
"""A form of a key, and where in it a window begins."""


class Redactor:
    """The keys to redact. A text costs one look-up a character, regardless of the number of keys."""

    def __init__(self) -> None:
        self._windows: dict[int, dict[bytes, _Place]] = {}
        self._cached = lru_cache(2048)(self._redacted)
        self._forgetting: list[Callable[[], None]] = [self._cached.cache_clear]

    def remember(self, *secrets: str, beginnings: bool = False) -> None:
        """Redact these from now on; with `beginnings`, only their first characters are stored, which saves memory."""
        for secret in secrets:
            for word in secret.split():  # "Bearer x" is a scheme and a key
                if len(word) >= SHORTEST:
                    self._add(word.encode("utf-8", "surrogatepass"), beginnings=beginnings)
        for forget in self._forgetting:
            forget()

    def on_remember(self, forget: Callable[[], None]) -> None:
        """Call this after each further key, so that cached texts can be dropped."""
        self._forgetting.append(forget)

    def redact(self, text: str) -> str:
        """The text with its keys redacted."""
        if len(text) < SHORTEST or not self._windows:
            return text
        return self._cached(text) if len(text) <= _CACHED else self._redacted(text)

    def _add(self, key: bytes, *, beginnings: bool) -> None:
        for form in _forms(key):
            size = min(_WINDOW, len(form))
            if size not in self._windows:  # replaced and not changed: another thread may iterate over it
                self._windows = {**self._windows, size: {}}
            windows = self._windows[size]
            for at in range(0, 1 if beginnings else len(form) - size + 1, _STEP):
                windows.setdefault(form[at : at + size], (form, at))

    def _redacted(self, text: str) -> str:
        raw = text.encode("utf-8", "surrogatepass")
        escaped = b"%" in raw or b"\\" in raw
        clean = self._plain(_RUN.sub(lambda run: self._decoded(run[0]), raw) if escaped else raw)
        return text if clean == raw else clean.decode("utf-8", "replace")

    def _decoded(self, piece: bytes) -> bytes:
        """The piece, or the mark if it is a key when its escapes are decoded."""
        plain = piece
        if b"%" not in piece and b"\\" not in piece:
            return piece
        for _ in range(_ROUNDS):
            read = _ESCAPE.sub(lambda code: bytes.fromhex(code[1].decode()), unquote_to_bytes(plain))
            if read == plain:
                break
            plain = read
            if self._plain(plain) is not plain:
                return MARK.encode()
        return piece

    def _plain(self, raw: bytes) -> bytes:
        """The bytes without unencoded keys; the same object if there are none."""
        folded = raw.lower()
        pieces: list[bytes] = []
        done = at = 0
        while (found := self._find(folded, at)) is not None:
            begin, at = found
            pieces += [raw[done : max(done, begin)], MARK.encode()]
            done = at
        return b"".join([*pieces, raw[done:]]) if pieces else raw

    def _find(self, folded: bytes, start: int) -> tuple[int, int] | None:
        """Start and end of the first key, or part of one."""
        best: tuple[int, int] | None = None
        for size, windows in self._windows.items():
            for at in range(start, (best[0] if best else len(folded)) - size + 1):
                place = windows.get(folded[at : at + size])
                if place is not None:
                    best = _extent(folded, at, size, *place)
                    break
        return best


def _extent(folded: bytes, at: int, size: int, form: bytes, offset: int) -> tuple[int, int]:
    """How far the key extends on both sides of a matching window."""
    begin, end = at, at + size
    before, after = offset, offset + size
    while begin > 0 and before > 0 and folded[begin - 1] == form[before - 1]:
        begin, before = begin - 1, before - 1
    while end < len(folded) and after < len(form) and folded[end] == form[after]:
        end, after = end + 1, after + 1
    return begin, end


def _forms(key: bytes) -> Iterator[bytes]:
    """The key in lower case, plain and encoded; of base64 the part that does not depend on neighbouring bytes."""
    yield key.lower()
    yield key.hex().encode()
    for shift in range(3):
        coded = b64encode(b"\0" * shift + key).rstrip(b"=")
        coded = coded[(0, 2, 3)[shift] : (len(key) + shift) * 8 // 6].lower()
        if len(coded) >= SHORTEST:
            yield coded
            yield coded.replace(b"+", b"-").replace(b"/", b"_")


def redact_all(value: object, depth: int = 0) -> object:
    """A JSON value with every text bounded and redacted; deeper levels are cut off."""
    if isinstance(value, str):
        return redact(value) if len(value) <= _MAX_LENGTH else f"{redact(value[:_MAX_LENGTH])} ..."
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        named = ((redact(name) if isinstance(name, str) else name, inner) for name, inner in value.items())
        return {name: redact_all(inner, depth + 1) for name, inner in named}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_all(inner, depth + 1) for inner in value]
    return value


_redactor = Redactor()
remember = _redactor.remember
redact = _redactor.redact
on_remember = _redactor.on_remember


def plain_words(body: bytes) -> str:
    """The beginning of an upstream's text for the log, in one line.

    Empty for text that begins as JSON: that is a truncated answer, whose content must not be logged.
    """
    text = body[: 2 * _MAX_WORDS_LENGTH].decode(errors="replace").removeprefix("\ufeff").lstrip()
    return "" if _BEGINS_AS_JSON.match(text) else redact(" ".join(text.split()))[:_MAX_WORDS_LENGTH]
