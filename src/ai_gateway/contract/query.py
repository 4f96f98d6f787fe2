"""Read the query and the headers of a request strictly, as the exact models that the contract generates for them."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel

from ai_gateway.contract.body import validate
from ai_gateway.contract.texts import fields_of, read_fields


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
    """The headers as the model; their names are in lower case. Raises InvalidRequest that names the header."""
    named = _header_names(model)
    given: dict[str, list[bytes]] = {}
    for name, value in headers:
        if name in named:
            given.setdefault(named[name], []).append(value)
    pairs: list[tuple[str, bytes]] = []
    for field, lines in given.items():
        if fields_of(model)[field].items is not None:
            pairs += [(field, item.strip(b" \t")) for line in lines for item in line.split(b",")]
        else:  # several lines of one name are equivalent to one with commas (RFC 9110, section 5.3)
            pairs.append((field, b", ".join(lines)))
    return validate(model, read_fields(model, pairs))


@cache
def _header_names(model: type[BaseModel]) -> Mapping[bytes, str]:
    return {name.encode(): name for name in fields_of(model)}
