"""No file of the repository holds a secret: keys of the gateway's own, of providers, and of the usual services.

Examples and tests need what looks like a key to people. It must not look like one to a scanner: no checksum that fits,
digits in order, or the same few over and over.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from ai_gateway.accounts.key_format import is_well_formed, new_key
from tests.test_repository import ROOT, tracked

# What each service's keys begin with and how they go on, as the services or the lists of scanners say.
KEYS = {
    "the gateway's own": r"sk-gw-(?:admin-)?[0-9A-Za-z]{49}",
    "Anthropic": r"sk-ant-(?:api|admin)\d\d-[\w-]{80,}",
    "OpenAI": r"sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}",
    "OpenRouter": r"sk-or-v1-[0-9a-f]{64}",
    "Groq": r"gsk_[A-Za-z0-9]{52}",
    "xAI": r"xai-[A-Za-z0-9]{80}",
    "Cerebras": r"csk-[a-z0-9]{48}",
    "NVIDIA": r"nvapi-[\w-]{60,}",
    "Hugging Face": r"hf_[A-Za-z]{34}",
    "Google": r"AIza[\w-]{35}",
    "Amazon": r"(?:AKIA|ASIA)[A-Z2-7]{16}",
    "GitHub": r"(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{82})",
    "GitLab": r"glpat-[\w-]{20}",
    "Python packages": r"pypi-AgE[\w-]{50,}",
    "npm": r"npm_[A-Za-z0-9]{36}",
    "Slack": r"xox[abposr]-[A-Za-z0-9-]{20,}|hooks\.slack\.com/services/T\w+/B\w+/\w+",
    "Stripe": r"[rs]k_live_[A-Za-z0-9]{20,}",
    "Docker": r"dckr_pat_[\w-]{27}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*[A-Za-z0-9+/=\s]{60,}",
    "a token of JSON": r"eyJ[\w-]{15,}\.eyJ[\w-]{15,}\.[\w-]{20,}",
}
# A long text of many different characters that something named like a secret is set to.
ASSIGNED = re.compile(
    r"""(?ix) (?:api_?key|secret|token|passw(?:or)?d|authorization) ["']? \s* [:=] \s* ["']? (?:bearer\s+)?
    (?P<value> [A-Za-z0-9+/_-]{32,}={0,2} ) (?![A-Za-z0-9+/_-]*[.(\[{])"""
)
# The example of the Standard Webhooks specification, which a test follows. In pieces, as everything here.
PUBLISHED = {"whsec_" + "MfKQ9r8GKYqrTw" + "jUPD8ILPZIo2LaLaSw"}
LIKELY_BITS = 4.2  # a character, of 32 characters of base 64 by chance: 4.5; of words and of hex: 4 at the most


def _bits(text: str) -> float:
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def _is_random(value: str) -> bool:
    return value not in PUBLISHED and any(each.isdigit() for each in value) and _bits(value) > LIKELY_BITS


def found_in(text: str) -> Iterator[str]:
    """What looks like a secret, and whose."""
    for owner, shape in KEYS.items():
        for match in re.finditer(shape, text):
            key = match[0]
            if is_well_formed(key) if owner == "the gateway's own" else _bits(key) > 3:
                yield f"{owner}: {key[:12]}..."
    for match in ASSIGNED.finditer(text):
        if _is_random(match["value"]):
            yield f"something: {match[0][:30]}..."


def test_no_file_of_the_repository_holds_a_secret() -> None:
    reported = [
        f"{path.relative_to(ROOT)}: {what}"
        for path in tracked()
        if path.name not in {"uv.lock", "package-lock.json"}  # hashes of files, and nothing else
        for what in found_in(path.read_text("utf-8", "replace"))
    ]
    assert reported == []


@pytest.mark.parametrize(
    "text",
    [
        f"ADMIN_API_KEY={new_key('administrator')}",
        f"Authorization: Bearer {new_key()}",
        "OPENAI_API_KEY=sk-proj-" + "a8Kd02mXq7Zt5RwB1nLf" + "T3Blbk" + "FJ" + "p0Qz9Ye3Ub6Vc2Hs8Gt4",
        "key: AKI" + "AQ3EGUWZ7XHPLM2RT",
        "github_token = 'gh" + "p_x7Lq2ZrT9vK4mB8nYc3dW6fHs1jGp5aQ0eRu'",
        "pass" + "word: Zk8wQ2xL9vT4rB7nY1cM6dH3fJ5gP0sAeRuK",
        "-----BEGIN " + "PRIVATE KEY-----\n" + "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgx7Lq2ZrT9vK4mB8nYc3d",
    ],
    ids=["administrator", "caller", "openai", "amazon", "github", "password", "private-key"],
)
def test_the_search_finds_secrets(text: str) -> None:
    assert list(found_in(text))


@pytest.mark.parametrize(
    "text",
    [
        "ALLOWED_API_KEYS=choose-a-key",
        "sk-test-0123456789abcdef",
        f"sk-gw-{'0' * 49}",
        "api_key=settings.model_list_api_key.get_secret_value()",
        "authorization: Bearer sk-upstream-5c1e9f7a2b",
    ],
)
def test_the_search_knows_what_is_none(text: str) -> None:
    assert list(found_in(text)) == []
