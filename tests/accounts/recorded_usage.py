"""Usages as upstreams report them, and what each costs, worked out by hand.

The arithmetic of a case is in millionths of a USD, as prices are told for a million tokens; `usd` is its result. It was
not computed by the code under test.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ai_gateway.contract.tokens import Tokens


@dataclass(frozen=True)
class Recorded:
    """One reply. `usage` is what the upstream says, `tier` its `service_tier`, `usd` None where nobody knows.

    `tokens` is what that means by class. An embedding has no stream.
    """

    name: str
    provider: str
    model: str
    usage: dict[str, Any]
    tokens: Tokens
    working: str
    usd: str | None
    tier: str | None = None
    at: datetime = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    embeds: bool = False


def _counts(prompt: int, completion: int, *, beside: int = 0, **details: Any) -> dict[str, Any]:
    """OpenAI's form; `beside` is in the total only."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion + beside,
        **details,
    }


def _cached(tokens: int, **more: int) -> dict[str, Any]:
    return {"prompt_tokens_details": {"cached_tokens": tokens, **more}}


def _made(**tokens: int) -> dict[str, Any]:
    return {"completion_tokens_details": tokens}


def _utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


_OPENAI = (
    Recorded(
        "text only", "openai", "gpt-5", _counts(1000, 500),
        Tokens(1000, 500), "1000 x 1.25 + 500 x 10 = 1250 + 5000", "0.00625",
    ),
    Recorded(
        "cached, with reasoning", "openai", "gpt-5",
        _counts(2006, 300, **_cached(1920, audio_tokens=0), **_made(reasoning_tokens=192, audio_tokens=0)),
        Tokens(86, 108, cache_read=1920, reasoning=192),
        "86 x 1.25 + 1920 x 0.125 + 300 x 10 = 107.5 + 240 + 3000", "0.0033475",
    ),
    Recorded(
        "priority", "openai", "gpt-5", _counts(1200, 100, **_cached(1024)),
        Tokens(176, 100, cache_read=1024), "176 x 2.5 + 1024 x 0.25 + 100 x 20 = 440 + 256 + 2000", "0.002696",
        tier="priority",
    ),
    Recorded(
        "flex", "openai", "gpt-5", _counts(5000, 1000),
        Tokens(5000, 1000), "5000 x 0.625 + 1000 x 5 = 3125 + 5000", "0.008125", tier="flex",
    ),
    Recorded(
        "the tier is told to be the default", "openai", "gpt-5",
        _counts(17, 9, **_cached(0), **_made(reasoning_tokens=0)),
        Tokens(17, 9), "17 x 1.25 + 9 x 10 = 21.25 + 90", "0.00011125", tier="default",
    ),
    Recorded(
        "a tier by contract", "openai", "gpt-5", _counts(17, 9), Tokens(17, 9), "unknown", None, tier="scale",
    ),
    Recorded(
        "a tier before its price is known", "openai", "gpt-5", _counts(17, 9), Tokens(17, 9), "unknown", None,
        tier="flex", at=_utc(2026, 10, 11, 23, 59, 59),
    ),
    Recorded(
        "a dated id", "openai", "gpt-5-2025-08-07", _counts(1, 1), Tokens(1, 1), "1.25 + 10", "0.00001125",
    ),
    Recorded(
        "as much as is not long yet", "openai", "gpt-6-sol", _counts(272_000, 10),
        Tokens(272_000, 10), "272000 x 2 + 10 x 10 = 544000 + 100", "0.5441",
    ),
    Recorded(
        "one more makes all of it more expensive, cached or not", "openai", "gpt-6-sol",
        _counts(272_001, 2000, **_cached(200_000, cache_write_tokens=50_000)),
        Tokens(22_001, 2000, cache_read=200_000, cache_write=50_000),
        "22001 x 4 + 200000 x 0.4 + 50000 x 5 + 2000 x 15 = 88004 + 80000 + 250000 + 30000", "0.448004",
    ),
    Recorded(
        "long, and priority", "openai", "gpt-6-sol", _counts(300_000, 100),
        Tokens(300_000, 100), "300000 x 8 + 100 x 30 = 2400000 + 3000", "2.403", tier="priority",
    ),
    Recorded(
        "nearly all cached", "openai", "gpt-4o-mini", _counts(12_345, 678, **_cached(12_288)),
        Tokens(57, 678, cache_read=12_288),
        "57 x 0.15 + 12288 x 0.075 + 678 x 0.6 = 8.55 + 921.6 + 406.8", "0.00133695",
    ),
    Recorded(
        "speech in and out", "openai", "gpt-audio",
        _counts(120, 250, **_cached(0, audio_tokens=90, text_tokens=30), **_made(audio_tokens=200, text_tokens=50)),
        Tokens(30, 50, input_audio=90, output_audio=200),
        "30 x 2.5 + 90 x 32 + 50 x 10 + 200 x 64 = 75 + 2880 + 500 + 12800", "0.016255",
    ),
    Recorded(
        "speech to a model whose price of it nobody knows", "openai", "gpt-4o",
        _counts(120, 5, **_cached(0, audio_tokens=90)),
        Tokens(30, 5, input_audio=90), "unknown", None,
    ),
    Recorded(
        "one token each way", "openai", "gpt-5-nano", _counts(1, 1), Tokens(1, 1), "0.05 + 0.4", "0.00000045",
    ),
    Recorded(
        "the day before it became cheaper", "openai", "o3", _counts(100, 100, **_made(reasoning_tokens=64)),
        Tokens(100, 36, reasoning=64), "100 x 10 + 100 x 40 = 1000 + 4000", "0.005", at=_utc(2025, 6, 9, 23, 59, 59),
    ),
    Recorded(
        "the day on which it became cheaper", "openai", "o3", _counts(100, 100, **_made(reasoning_tokens=64)),
        Tokens(100, 36, reasoning=64), "100 x 2 + 100 x 8 = 200 + 800", "0.001", at=_utc(2025, 6, 10),
    ),
    Recorded(
        "predictions that were not used are output", "openai", "gpt-4o",
        _counts(50, 120, **_made(accepted_prediction_tokens=20, rejected_prediction_tokens=40)),
        Tokens(50, 120), "50 x 2.5 + 120 x 10 = 125 + 1200", "0.001325",
    ),
    Recorded(
        "an embedding", "openai", "text-embedding-3-small", {"prompt_tokens": 8191, "total_tokens": 8191},
        Tokens(8191), "8191 x 0.02", "0.00016382", embeds=True,
    ),
    Recorded("a model of no list", "openai", "gpt-5-turbo-max", _counts(9, 9), Tokens(9, 9), "unknown", None),
)  # fmt: skip

_ANTHROPIC = (
    Recorded(
        "no cache", "anthropic", "claude-opus-4-5", {"input_tokens": 10, "output_tokens": 25},
        Tokens(10, 25), "10 x 5 + 25 x 25 = 50 + 625", "0.000675", tier="standard",
    ),
    Recorded(
        "the cache is written, beside the input", "anthropic", "claude-opus-4-5-20251101",
        {
            "input_tokens": 21, "cache_creation_input_tokens": 1886, "cache_read_input_tokens": 0, "output_tokens": 393,
            "cache_creation": {"ephemeral_5m_input_tokens": 1886, "ephemeral_1h_input_tokens": 0},
        },
        Tokens(21, 393, cache_write=1886), "21 x 5 + 1886 x 6.25 + 393 x 25 = 105 + 11787.5 + 9825", "0.0217175",
        tier="standard",
    ),
    Recorded(
        "the cache is read, beside the input", "anthropic", "claude-opus-4-5",
        {"input_tokens": 21, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1886, "output_tokens": 393},
        Tokens(21, 393, cache_read=1886), "21 x 5 + 1886 x 0.5 + 393 x 25 = 105 + 943 + 9825", "0.010873",
    ),
    Recorded(
        "for five minutes and for an hour", "anthropic", "claude-opus-4-5",
        {
            "input_tokens": 2048, "cache_read_input_tokens": 1800, "cache_creation_input_tokens": 248,
            "output_tokens": 503,
            "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
        },
        Tokens(2048, 503, cache_read=1800, cache_write=148, cache_write_1h=100),
        "2048 x 5 + 1800 x 0.5 + 148 x 6.25 + 100 x 10 + 503 x 25 = 10240 + 900 + 925 + 1000 + 12575", "0.02564",
    ),
    Recorded(
        "long by what is in the cache", "anthropic", "claude-sonnet-4-5-20250929",
        {
            "input_tokens": 1000, "cache_read_input_tokens": 150_000, "cache_creation_input_tokens": 49_001,
            "output_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 49_001},
        },
        Tokens(1000, 100, cache_read=150_000, cache_write_1h=49_001),
        "1000 x 6 + 150000 x 0.6 + 49001 x 12 + 100 x 22.5 = 6000 + 90000 + 588012 + 2250", "0.686262",
    ),
    Recorded(
        "not long yet", "anthropic", "claude-sonnet-4-5", {"input_tokens": 200_000, "output_tokens": 1},
        Tokens(200_000, 1), "200000 x 3 + 15", "0.600015",
    ),
    Recorded(
        "long from another size on", "anthropic", "claude-haiku-5-5", {"input_tokens": 100_001, "output_tokens": 10},
        Tokens(100_001, 10), "100001 x 0.5 + 10 x 2.5 = 50000.5 + 25", "0.0500255",
    ),
    Recorded(
        "thinking is output", "anthropic", "claude-opus-4-5",
        {"input_tokens": 40, "output_tokens": 900, "output_tokens_details": {"thinking_tokens": 600}},
        Tokens(40, 300, reasoning=600), "40 x 5 + 900 x 25 = 200 + 22500", "0.0227",
    ),
    Recorded(
        "searches, beside the tokens", "anthropic", "claude-opus-4-5",
        {"input_tokens": 105, "output_tokens": 60, "server_tool_use": {"web_search_requests": 3}},
        Tokens(105, 60, searches=3), "105 x 5 + 60 x 25 + 3 x 10000 = 525 + 1500 + 30000", "0.032025",
    ),
    Recorded(
        "another tool than search", "anthropic", "claude-opus-4-5",
        {
            "input_tokens": 10, "output_tokens": 25,
            "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 2},
        },
        Tokens(10, 25), "10 x 5 + 25 x 25 = 50 + 625", "0.000675",
    ),
    Recorded(
        "a tier by contract", "anthropic", "claude-opus-4-5", {"input_tokens": 40, "output_tokens": 9},
        Tokens(40, 9), "unknown", None, tier="priority",
    ),
)  # fmt: skip

_OTHERS = (
    Recorded(
        "with times", "groq", "llama-3.3-70b-versatile",
        _counts(18, 556, queue_time=0.037, prompt_time=0.0007, completion_time=0.46, total_time=0.47),
        Tokens(18, 556), "18 x 0.59 + 556 x 0.79 = 10.62 + 439.24", "0.00044986", tier="on_demand",
    ),
    Recorded(
        "cached, with reasoning", "groq", "openai/gpt-oss-120b",
        _counts(4641, 1817, **_cached(4608), **_made(reasoning_tokens=1500)),
        Tokens(33, 317, cache_read=4608, reasoning=1500),
        "33 x 0.15 + 4608 x 0.075 + 1817 x 0.6 = 4.95 + 345.6 + 1090.2", "0.00144075",
    ),
    Recorded(
        "a tier at the same price", "groq", "openai/gpt-oss-120b", _counts(1000, 1000),
        Tokens(1000, 1000), "1000 x 0.15 + 1000 x 0.6 = 150 + 600", "0.00075", tier="flex",
    ),
    Recorded(
        "hits and misses, by night", "deepseek", "deepseek-chat",
        _counts(1500, 60, prompt_cache_hit_tokens=1408, prompt_cache_miss_tokens=92),
        Tokens(92, 60, cache_read=1408), "92 x 0.135 + 1408 x 0.035 + 60 x 0.55 = 12.42 + 49.28 + 33", "0.0000947",
        at=_utc(2026, 11, 20, 0, 29, 59),
    ),
    Recorded(
        "the same by day", "deepseek", "deepseek-chat",
        _counts(1500, 60, **_cached(1408), prompt_cache_hit_tokens=1408, prompt_cache_miss_tokens=92),
        Tokens(92, 60, cache_read=1408), "92 x 0.27 + 1408 x 0.07 + 60 x 1.1 = 24.84 + 98.56 + 66", "0.0001894",
        at=_utc(2026, 11, 20, 0, 30),
    ),
    Recorded(
        "in the last second of busy hours", "deepseek", "deepseek-v4-pro",
        _counts(100, 200, **_made(reasoning_tokens=150)),
        Tokens(100, 50, reasoning=150), "100 x 1.32 + 200 x 3.96 = 132 + 792", "0.000924",
        at=_utc(2026, 11, 20, 3, 59, 59),
    ),
    Recorded(
        "a second later", "deepseek", "deepseek-v4-pro", _counts(100, 200, **_made(reasoning_tokens=150)),
        Tokens(100, 50, reasoning=150), "100 x 0.66 + 200 x 1.98 = 66 + 396", "0.000462", at=_utc(2026, 11, 20, 4),
    ),
    Recorded(
        "a price that no decimal of 12 places has", "openrouter", "google/gemini-3.8-flash",
        _counts(100, 3, **_cached(50, cache_write_tokens=7), cost=0.0000475),
        Tokens(43, 3, cache_read=50, cache_write=7),
        "43 x 0.75 + 50 x 0.075 + 7 x 0.041666666666666664 + 3 x 3.75"
        " = 32.25 + 3.75 + 0.291666666666666648 + 11.25 = 47.541666666666666648, and up at the 12th place",
        "0.000047541667",
    ),
    Recorded(
        "with what it says it cost", "openrouter", "openai/gpt-5",
        _counts(194, 2, **_cached(0), **_made(reasoning_tokens=0), cost=0.0002625, is_byok=False),
        Tokens(194, 2), "194 x 1.25 + 2 x 10 = 242.5 + 20", "0.0002625",
    ),
    Recorded(
        "cache read and written", "openrouter", "anthropic/claude-sonnet-4.5",
        _counts(1600, 50, **_cached(1000, cache_write_tokens=500)),
        Tokens(100, 50, cache_read=1000, cache_write=500),
        "100 x 3 + 1000 x 0.3 + 500 x 3.75 + 50 x 15 = 300 + 300 + 1875 + 750", "0.003225",
    ),
    Recorded(
        "a search in Anthropic's words", "openrouter", "openai/gpt-6-sol",
        _counts(100, 10, server_tool_use={"web_search_requests": 2}),
        Tokens(100, 10, searches=2), "100 x 2 + 10 x 10 + 2 x 10000 = 200 + 100 + 20000", "0.0203",
    ),
    Recorded(
        "a search whose fee nobody knows", "openrouter", "openai/gpt-5",
        _counts(100, 10, server_tool_use={"web_search_requests": 1}), Tokens(100, 10, searches=1), "unknown", None,
    ),
    Recorded(
        "searches under a name of its own", "perplexity", "perplexity/sonar",
        _counts(33, 1000, **_made(reasoning_tokens=400), num_search_queries=18, citation_tokens=0),
        Tokens(33, 600, reasoning=400, searches=18),
        "33 x 0.25 + 1000 x 2.5 + 18 x 2500 = 8.25 + 2500 + 45000", "0.04750825",
    ),
    Recorded("free", "openrouter", "openai/gpt-oss-20b:free", _counts(5000, 5000), Tokens(5000, 5000), "0", "0"),
    Recorded(
        "reasoning at a price of its own", "openrouter", "perplexity/sonar-deep-research",
        _counts(20, 1000, **_made(reasoning_tokens=400)), Tokens(20, 600, reasoning=400),
        "20 x 2 + 600 x 8 + 400 x 3 = 40 + 4800 + 1200", "0.00604",
    ),
    Recorded(
        "cached", "mistral", "mistral-small-latest", _counts(320, 64, **_cached(256)),
        Tokens(64, 64, cache_read=256), "64 x 0.15 + 256 x 0.015 + 64 x 0.6 = 9.6 + 3.84 + 38.4", "0.00005184",
    ),
    Recorded(
        "before it became more expensive", "mistral", "mistral-small-latest", _counts(320, 64),
        Tokens(320, 64), "320 x 0.1 + 64 x 0.3 = 32 + 19.2", "0.0000512", at=_utc(2026, 3, 15, 23, 59),
    ),
    Recorded(
        "an embedding of code", "mistral", "codestral-embed", _counts(77, 0), Tokens(77), "77 x 0.15", "0.00001155",
        embeds=True,
    ),
    Recorded(
        "reasoning beside the output", "xai", "grok-4.5", _counts(32, 9, beside=320, **_made(reasoning_tokens=320)),
        Tokens(32, 9, reasoning=320), "32 x 2 + 329 x 6 = 64 + 1974", "0.002038",
    ),
    Recorded(
        "long from 200,000 on", "xai", "grok-4.5", _counts(200_000, 10),
        Tokens(200_000, 10), "200000 x 4 + 10 x 12", "0.80012",
    ),
    Recorded(
        "thoughts that only the total has", "gemini", "gemini-2.5-pro", _counts(8, 10, beside=600),
        Tokens(8, 10, reasoning=600), "8 x 1.25 + 610 x 10 = 10 + 6100", "0.00611",
    ),
    Recorded(
        "speech to a model of texts", "gemini", "models/gemini-2.5-flash",
        _counts(300, 20, **_cached(0, audio_tokens=250)),
        Tokens(50, 20, input_audio=250), "50 x 0.3 + 250 x 1 + 20 x 2.5 = 15 + 250 + 50", "0.000315",
    ),
    Recorded(
        "cached, under a name of its own", "moonshot", "kimi-k2-thinking", _counts(1000, 100, cached_tokens=768),
        Tokens(232, 100, cache_read=768), "232 x 0.6 + 768 x 0.15 + 100 x 2.5 = 139.2 + 115.2 + 250", "0.0005044",
    ),
    Recorded(
        "at the operator's price", "ollama", "qwen3:8b", {"prompt_eval_count": 26, "eval_count": 290},
        Tokens(26, 290), "26 x 0.01 + 290 x 0.03 = 0.26 + 8.7", "0.00000896",
    ),
    Recorded(
        "a prompt in the cache, which is not counted", "ollama", "gpt-oss:20b", {"eval_count": 10},
        Tokens(0, 10), "10 x 0.03", "0.0000003",
    ),
    Recorded(
        "at the price of the model list", "fireworks", "accounts/lab/models/our-own", _counts(11, 10),
        Tokens(11, 10), "21 x 0.9", "0.0000189",
    ),
)  # fmt: skip

RECORDED = (*_OPENAI, *_ANTHROPIC, *_OTHERS)
