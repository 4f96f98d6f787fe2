"""How near counts of tokens come to a true vocabulary, and that they cost little."""

import base64
import random
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from ai_gateway.translate.anthropic_chat.tokens import of_body, of_text
from gateway_contract.anthropic.models import AnthropicCountMessageTokensParams
from tests.support.vocabulary import o200k
from tests.translate.anthropic_chat.asking import PNG, WEATHER, call, result, text
from tests.translate.anthropic_chat.texts import LANGUAGES, texts

TEXTS = texts(200)
LEAST, MOST = 1.0, 1.5  # what docs/endpoints promise of texts in a language


@pytest.fixture(scope="module")
def vocabulary() -> tiktoken.Encoding:
    return o200k()


def test_texts_in_twelve_languages_count_as_many_to_half_as_many_again(vocabulary: tiktoken.Encoding) -> None:
    assert len({kind for kind, _ in TEXTS} - {"code"}) == len(LANGUAGES) == 12
    ratios = {
        (kind, number): of_text(words) / len(vocabulary.encode(words)) for number, (kind, words) in enumerate(TEXTS)
    }
    assert {key: ratio for key, ratio in ratios.items() if not LEAST <= ratio <= MOST} == {}


@pytest.mark.parametrize("name", ["gateway.py", "README.md", "hashes", "base64", "emoji"])
def test_what_agents_send_beside_texts_is_not_counted_too_low(name: str, vocabulary: tiktoken.Encoding) -> None:
    dice = random.Random(3)
    root = Path(__file__).parents[3]
    words = {
        "gateway.py": (root / "src/ai_gateway/gateway.py").read_text("utf-8"),
        "README.md": (root / "README.md").read_text("utf-8"),
        "hashes": "\n".join(dice.randbytes(32).hex() for _ in range(40)),
        "base64": base64.b64encode(dice.randbytes(3000)).decode(),
        "emoji": "😀🎉🚀👍🏽 " * 40,
    }[name]
    assert LEAST <= of_text(words) / len(vocabulary.encode(words)) <= 1.6


def counted(**fields: Any) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return of_body(AnthropicCountMessageTokensParams.model_validate(body, strict=True))


def test_everything_of_a_request_counts() -> None:
    bare = counted()
    assert counted(system="Be brief. " * 20) > bare + 20
    assert counted(tools=[{**WEATHER, "description": "It tells the weather."}]) > bare + 300
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [call(1, city="Oslo " * 30)]}]
    called = counted(messages=turns)
    assert called > bare + 30
    answered = [*turns, {"role": "user", "content": [result(1, [text("sunny " * 50)])]}]
    assert counted(messages=answered) > called + 50


def image(data: str) -> int:
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    return counted(messages=[{"role": "user", "content": [block]}]) - counted(
        messages=[{"role": "user", "content": []}]
    )


def png(width: int, height: int) -> str:
    head = struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    chunk = b"IHDR" + head
    return base64.b64encode(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    ).decode()


def test_images_count_by_their_size() -> None:
    assert image(PNG) == 1
    assert image(png(750, 400)) == 400
    assert image(png(5000, 5000)) == 1600
    assert image("AAAA") == 1600  # nobody knows


def test_a_text_of_a_megabyte_is_counted_at_once() -> None:
    words = "The harbour was quiet; Гавань 港口 x=1\n" * 25_000
    began = time.process_time()
    assert of_text(words) > 200_000
    assert time.process_time() - began < 1
