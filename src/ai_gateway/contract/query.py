"""Read the query and the headers of a request strictly, as the exact models that the contract generates for them."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel

from ai_gateway.contract.body import validate
from ai_gateway.contract.texts import fields_of, read_fields

_SHORT = 128  # bytes of headers that are remembered


def read_query[Model: BaseModel](query: bytes, model: type[Model], *, closed: bool = False) -> Model:
    """The query as the model. Unknown parameters are ignored, or refused if `closed`.

    Raises InvalidRequest that names the parameter.
    """
    return validate(model, read_fields(model, _pairs(query), others=closed))


def _pairs(query: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and values of a form-encoded query."""
    for pair in filter(None, query.split(b"&")):
        name, _, value = pair.replace(b"+", b" ").partition(b"=")
        yield unquote_to_bytes(name).decode(errors="replace"), unquote_to_bytes(value)


def read_headers[Model: BaseModel](headers: Iterable[tuple[bytes, bytes]], model: type[Model]) -> Model:
    """The headers as the model; their names are in lower case. Raises InvalidRequest that names the header.

    Requests with the same short headers, as nearly all of a client are, have the model in common.
    """
    named = _header_names(model)
    given = tuple([(named[name], value) for name, value in headers if name in named])
    is_short = sum([len(value) for _, value in given]) <= _SHORT
    return _known_headers(model, given) if is_short else _headers(model, given)


def _headers[Model: BaseModel](model: type[Model], lines: tuple[tuple[str, bytes], ...]) -> Model:
    given: dict[str, list[bytes]] = {}
    for field, value in lines:
        given.setdefault(field, []).append(value)
    pairs: list[tuple[str, bytes]] = []
    for field, values in given.items():
        if fields_of(model)[field].items is not None:
            pairs += [(field, item.strip(b" \t")) for line in values for item in line.split(b",")]
        else:  # several lines of one name are equivalent to one with commas (RFC 9110, section 5.3)
            pairs.append((field, b", ".join(values)))
    return validate(model, read_fields(model, pairs))


_known_headers = lru_cache(256)(_headers)


@cache
def _header_names(model: type[BaseModel]) -> Mapping[bytes, str]:
    return {name.encode(): name for name in fields_of(model)}
