"""The tree of errors: what follows from each for retries, failover and breakers, and that each sentence stands once."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ai_gateway import errors
from ai_gateway.errors import (
    GatewayError,
    InvalidRequest,
    Overloaded,
    Unauthorized,
    UpstreamError,
    UpstreamForbidden,
    UpstreamInvalidResponse,
    UpstreamRefused,
    UpstreamStreamTruncated,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ai_gateway.resilience.retry import RETRYABLE_REFUSALS, RetryPolicy

# Which statuses an upstream gave, by column of the table; none at all in the first.
COLUMNS: tuple[tuple[int | None, ...], ...] = (
    (None,),
    (400, 401, 402, 403, 404, 413, 418, 422),
    (408, 409),
    (429,),
    (500, 502, 503, 504, 529),
    (501, 505),
)
# In each cell: R it is worth a retry, or r if the operator lists the status; F another target may do better; then what
# the breaker counts it as, O an outage or H a sign of health.
TABLE = {
    #                         none   4xx    408/9  429    5xx    501/505
    "UpstreamError":           "RFO  -F-    -F-    -F-    RFO    -FO",
    "UpstreamRefused":         "...  --H    r-H    rFH    -FH    -FH",
    "UpstreamForbidden":       "...  -FH    rFH    rFH    -FH    -FH",
    "UpstreamWrongAddress":    "-FH  -FH    -FH    -FH    -FH    -FH",
    "UpstreamAuthError":       "-FH  -FH    -FH    -FH    -FH    -FH",
    "UpstreamUnreachable":     "RFO  -F-    -F-    -F-    RFO    -FO",
    "UpstreamInvalidResponse": "-F-  -F-    -F-    -F-    -F-    -F-",
    "UpstreamStreamTruncated": "RFO  -F-    -F-    -F-    RFO    -FO",
    "UpstreamOverloaded":      "RFO  -F-    -F-    -F-    RFO    -FO",
    "UpstreamUnavailable":     "-F-  -F-    -F-    -F-    -F-    -F-",
    "UpstreamTimeout":         "-FO  -F-    rF-    rF-    -FO    -FO",
}  # fmt: skip
# Errors that are no upstream's: retried by nobody, and nothing to a breaker.
FAIL_OVER = {"GatewayError", "RateLimited", "InsufficientQuota", "NotImplementedHere", "Unavailable", "Overloaded"}
STAY = {
    "InvalidRequest",
    "MissingParameter",
    "UnsupportedOperation",
    "UnsupportedParameter",
    "UnsupportedValue",
    "Unauthorized",
    "MissingApiKey",
    "InvalidApiKey",
    "Forbidden",
    "ModelNotAllowed",
    "ModelNotPriced",
    "ToolNotAllowed",
    "ToolNotAvailable",
    "NotFound",
    "ProviderNotFound",
    "ModelNotFound",
    "ThreadNotFound",
    "MethodNotAllowed",
    "RequestTimeout",
    "PayloadTooLarge",
    "UnsupportedMediaType",
    "UpgradeRequired",
    "HeadersTooLarge",
}
ROWS = TABLE | dict.fromkeys(sorted(FAIL_OVER), "-F-") | dict.fromkeys(sorted(STAY), "---")


def classes(parent: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    """Those of the module itself: other tests have some of their own."""
    yield parent
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child)


def refused(status: int, cls: type[UpstreamRefused] = UpstreamRefused) -> UpstreamRefused:
    return cls("no", status=status, type="t", code=None, param=None)


def made(name: str, status: int | None) -> GatewayError:
    cls = getattr(errors, name)
    if issubclass(cls, UpstreamRefused):
        assert status is not None
        return refused(status, cls)
    error: GatewayError = cls("x")
    return error if status is None else cls("x").answered(status)


def decisions(error: GatewayError, status: int | None) -> str:
    """The error's cell of the table."""

    def retried(refusals: Iterable[int]) -> bool:
        return RetryPolicy(refusals=frozenset(refusals)).pause(1, error, 60, 0.5) is not None

    assert not (error.outage and error.healthy)
    assert retried(RETRYABLE_REFUSALS - {status or 0}) is retried(()), "another status than its own decides"
    return (
        ("R" if retried(()) else "r" if retried(RETRYABLE_REFUSALS) else "-")
        + ("F" if error.failover else "-")
        + ("O" if error.outage else "H" if error.healthy else "-")
    )


CELLS = [
    pytest.param(name, status, cell, id=f"{name}-{status}")
    for name, row in ROWS.items()
    for statuses, cell in zip(COLUMNS, row.split(), strict=False)
    for status in statuses
    if cell != "..."
]


@pytest.mark.parametrize(("name", "status", "cell"), CELLS)
def test_what_follows_from_an_error(name: str, status: int | None, cell: str) -> None:
    assert decisions(made(name, status), status) == cell


def test_the_table_knows_every_error_and_every_column() -> None:
    assert set(ROWS) == {cls.__name__ for cls in classes()}
    for row in TABLE.values():
        assert len(row.split()) == len(COLUMNS)


def drawing() -> dict[str, list[str]]:
    """The words behind each name of the drawing, without what stands in brackets."""
    lines = (errors.__doc__ or "").split("\n\n")[1].splitlines()
    words = (re.findall(r"\w+", re.sub(r"\(.*\)", "", line)) for line in lines)
    return {name: rest for name, *rest in words}


@pytest.mark.parametrize("cls", list(classes()), ids=lambda cls: cls.__name__)
def test_the_tree_is_drawn_as_it_is(cls: type[GatewayError]) -> None:
    error = refused(400, cls) if issubclass(cls, UpstreamRefused) else cls("x")
    facts = [fact for fact in ("retry", "failover", "outage", "healthy") if getattr(error, fact)]
    drawn = drawing()[cls.__name__]
    if cls in {UpstreamRefused, UpstreamForbidden, Overloaded}:  # what they have of their own stands in brackets
        assert drawn == facts
    else:
        code = [cls.code] if cls.code is not None and "code" in vars(cls) else []
        assert drawn == [str(cls.status), *code, *facts]


def test_the_tree_is_drawn_whole_and_in_order() -> None:
    assert [cls.__name__ for cls in classes()] == list(drawing())


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("x", param="p", code="invalid_value", headers={"a": "1", "b": "2"}),
        UpstreamTimeout("x", headers={"a": "1", "b": "2"}, detail="d").answered(408),
        UpstreamRefused("x", status=429, type="t", code="c", param="p", headers={"a": "1", "b": "2"}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_note_is_made_on_a_copy(error: GatewayError) -> None:
    before = {**vars(error), "headers": dict(error.headers)}
    noted = error.with_note("It was the last.", {"b": "of another", "c": "3"})
    assert vars(error) == before
    assert type(noted) is type(error)
    assert str(noted) == noted.message == "x. It was the last."
    assert list(noted.headers.items()) == [("b", "2"), ("c", "3"), ("a", "1")]
    assert vars(noted) == {**before, "message": noted.message, "headers": noted.headers}


@pytest.mark.parametrize("message", ["model 'm' not found", "No.", "Why?", "No!", ""])
def test_a_note_is_a_sentence_of_its_own(message: str) -> None:
    before = "model 'm' not found. " if message.startswith("model") else f"{message} ".lstrip()
    assert InvalidRequest(message).with_note("It was the last.", {}).message == f"{before}It was the last."


@pytest.mark.parametrize("error", [Overloaded(), Unauthorized("x")], ids=lambda error: type(error).__name__)
def test_a_copy_needs_none_of_the_arguments_that_an_error_was_made_of(error: GatewayError) -> None:
    noted = error.with_note("Again.", {})
    assert noted.message == f"{error.message.removesuffix('.')}. Again."
    assert noted.headers == error.headers


@pytest.mark.parametrize(
    ("given", "added", "hint"),
    [
        ({}, {}, None),
        ({"x-should-retry": "true"}, {}, True),
        ({"x-should-retry": "true"}, {"x-should-retry": "false"}, False),
        ({"x-should-retry": "false"}, {"x-should-retry": "perhaps"}, False),
        ({"x-should-retry": "True"}, {}, None),
    ],
)
def test_what_an_upstream_says_of_a_retry_is_read_from_its_headers(
    given: dict[str, str], added: dict[str, str], hint: bool | None
) -> None:
    error = UpstreamError("x", headers=given)
    more = error.with_headers(added)
    assert (more.retry_hint, more.headers) == (hint, given | added)
    assert error.headers == given


SENTENCES: list[tuple[GatewayError, str]] = [
    (UpstreamError.gave_up("up"), "Provider 'up' gave the answer up before its end."),
    (UpstreamUnreachable.of("up"), "Provider 'up' cannot be reached. Try again."),
    (
        UpstreamInvalidResponse.redirect("up"),
        "Provider 'up' answered with a redirect, which is not followed.",
    ),
    (UpstreamInvalidResponse.without_reply("up", 204), "Provider 'up' answered without a reply (status 204)."),
    (
        UpstreamInvalidResponse.compressed("up"),
        "Provider 'up' sent a compressed reply that was not requested.",
    ),
    (
        UpstreamInvalidResponse.too_large("up", limit=9, setting="REPLY_MAX_SIZE"),
        "Provider 'up' sent a reply that is too large to pass on: more than the 9 bytes of REPLY_MAX_SIZE.",
    ),
    (
        UpstreamInvalidResponse.too_large(what="a line", limit=9, setting="EVENT_MAX_SIZE"),
        "The provider sent a line that is too large to pass on: more than the 9 bytes of EVENT_MAX_SIZE.",
    ),
    (UpstreamInvalidResponse.garbled("up"), "Provider 'up' broke off or garbled its reply."),
    (
        UpstreamInvalidResponse.not_json("up", ValueError("no JSON"), b"-"),
        "Provider 'up' sent a reply that is not JSON.",
    ),
    (UpstreamInvalidResponse.not_a_stream("up"), "Provider 'up' did not answer with a stream."),
    (
        UpstreamInvalidResponse.off_contract(detail="d"),
        "The provider's reply does not follow the contract.",
    ),
    (UpstreamInvalidResponse.unknown_end(), "The provider ended its answer for an unknown reason."),
    (UpstreamStreamTruncated.ended(), "The provider ended the stream before it was complete."),
    (
        UpstreamStreamTruncated.broken_off("up"),
        "Provider 'up' broke the stream off before it was complete.",
    ),
    (UpstreamTimeout.of("up"), "Provider 'up' took too long. Try again."),
]


@pytest.mark.parametrize(("error", "sentence"), SENTENCES, ids=[sentence for _, sentence in SENTENCES])
def test_a_sentence_that_several_modules_say_stands_in_one_place(error: GatewayError, sentence: str) -> None:
    assert error.message == sentence
    saying = re.split(r"'up' |The provider(?:'s reply)? ", sentence)[1].split(" (")[0].split(".")[0].split(":")[0]
    saying = re.sub(r"^sent a \w+ that", "that", saying)  # what was sent is an argument of its own
    package = Path(errors.__file__).parent
    rooms = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "rovider" in line and saying in line
    }
    assert rooms == {"errors.py"}
