"""Keys are redacted in texts, whatever form they are in, and nothing else is."""

import base64
import json
import time
from urllib.parse import quote

import pytest

from ai_gateway.redaction import Redactor

KEY = "sk-Rz4Kp9WmQ2/x+TvB7nJ8cLdE5yHg0aSf"


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    made = Redactor()
    made.remember(KEY, "Bearer tok-91Xw7Ub", "short")
    return made


FORMS = {
    "as it is": KEY,
    "its beginning": KEY[:12],
    "its middle": KEY[7:26],
    "its end": KEY[-18:],
    "in upper case": KEY.upper(),
    "in lower case": KEY.lower(),
    "percent-encoded where needed": quote(KEY, safe=""),
    "percent-encoded throughout": "".join(f"%{ord(sign):02x}" for sign in KEY),
    "percent-encoded twice": quote(quote(KEY, safe=""), safe=""),
    "escaped as JSON may": "".join(f"\\u{ord(sign):04x}" for sign in KEY),
    "escaped by JSON inside of JSON": json.dumps("".join(f"\\u{ord(sign):04X}" for sign in KEY)),
    "escaped as bytes are shown": "".join(f"\\x{ord(sign):02x}" for sign in KEY),
    "in hex": KEY.encode().hex(),
    "percent-encoded base64": quote(base64.b64encode(KEY.encode()).decode(), safe=""),
    **{f"base64 behind {shift}": base64.b64encode(b"." * shift + KEY.encode()).decode() for shift in range(3)},
    **{
        f"URL base64 behind {shift}": base64.urlsafe_b64encode(b"." * shift + KEY.encode()).decode() for shift in (1, 2)
    },
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("around", ["{}", "told {} by it", "b'GET /{} HTTP/1.1'", '{{"key":"{}"}}', "x={}&y=1", "é{}é"])
def test_a_key_is_redacted_in_every_form(redactor: Redactor, form: str, around: str) -> None:
    text = around.format(form)
    redacted = redactor.redact(text)
    assert "[key]" in redacted
    for at in range(len(form) - 7):
        assert form[at : at + 8] not in redacted
    before, _, after = around.replace("{{", "{").replace("}}", "}").partition("{}")
    if "%" not in form and "\\" not in form:
        assert redacted.startswith(before)
        assert redacted.endswith(after)


@pytest.mark.parametrize(
    "text", ["", "sk-", "a short word", "50% of C:\\new", "\ud800 half", "%zz\\u12", KEY[:11], KEY[-6:], "İ" * 20]
)
def test_what_is_no_key_stays_as_it_is(redactor: Redactor, text: str) -> None:
    assert redactor.redact(text) == text


def test_the_key_of_a_scheme_and_each_of_several_is_redacted(redactor: Redactor) -> None:
    assert redactor.redact(f"{KEY} and tok-91Xw7Ub, {KEY}{KEY}") == "[key] and [key], [key][key]"


def test_beginnings_are_enough_for_a_key_that_is_whole() -> None:
    redactor = Redactor()
    redactor.remember(KEY, beginnings=True)
    for form in (KEY, base64.b64encode(KEY.encode()).decode()[:40], KEY.encode().hex()):
        assert redactor.redact(f"<{form}>") == "<[key]>"


def test_a_key_that_comes_later_is_redacted_in_texts_known_before() -> None:
    redactor = Redactor()
    redactor.remember("another-key-entirely")
    assert redactor.redact(f"see {KEY}") == f"see {KEY}"
    redactor.remember(KEY)
    assert redactor.redact(f"see {KEY}") == "see [key]"


@pytest.mark.parametrize("unit", ["a", "%41", "\\u0041", KEY[:11], "%", "\\", "ab "])
def test_the_work_grows_with_the_text_and_no_faster(redactor: Redactor, unit: str) -> None:
    def cost(times: int) -> float:
        text = unit * times
        began = time.process_time()
        redactor.redact(text)
        return time.process_time() - began

    assert min(cost(40_000) for _ in range(3)) < 3 * min(cost(20_000) for _ in range(3)) + 0.01
