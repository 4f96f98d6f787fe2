"""Asks the scripted model, whole or streamed, and puts the pieces of a stream together as a client does."""

from typing import Any

from tests.support.client import events_of, post
from tests.support.gateway import LiveGateway
from tests.support.upstream import Upstream
from tests.tools.scripted import SCRIPTS, Says

SEARCH = {"type": "gateway:web_search", "max_results": 2}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def asked(
    live: LiveGateway, name: str, *rounds: Says, tools: Any = (SEARCH,), stream: bool = False, **fields: Any
) -> dict[str, Any]:
    """The reply of the model of this name, which says these rounds; that of a stream as it adds up."""
    SCRIPTS[name] = list(rounds)
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], **fields}
    body |= {"model": name, "tools": list(tools), "stream": stream}
    if stream:
        body.setdefault("stream_options", {"include_usage": True})
    response = post(live, "/lab/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    return added_up(events_of(response).chunks) if stream else dict(response.json())


def requests_for(model: Upstream, name: str) -> list[dict[str, Any]]:
    """What the model was asked, in order."""
    return [seen.json for seen in model.seen(name)]


def message_of(reply: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = reply["choices"][0]["message"]
    return message


def added_up(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The reply that a stream comes to, by the rules of OpenAI's own client: texts go on, lists add up by index."""
    reply: dict[str, Any] = {}
    message: dict[str, Any] = {}
    finishes: list[str] = []
    assert len({chunk["id"] for chunk in chunks}) == 1
    for chunk in chunks:
        if chunk.get("usage"):
            assert chunk is chunks[-1]
            reply["usage"] = chunk["usage"]
        for choice in chunk["choices"]:
            assert not finishes, "nothing follows the reason to end"
            _add(choice["delta"], message)
            finishes += [choice["finish_reason"]] if choice["finish_reason"] else []
    assert len(finishes) == 1
    return {**reply, "id": chunks[0]["id"], "choices": [{"message": message, "finish_reason": finishes[0]}]}


def _add(delta: dict[str, Any], into: dict[str, Any]) -> None:
    for name, value in delta.items():
        before = into.get(name)
        if before is None or name in {"index", "type"}:
            into[name] = value
        elif isinstance(value, str | int):
            into[name] = before + value
        elif isinstance(value, dict):
            _add(value, before)
        elif isinstance(value, list):
            for entry in value:
                same = [one for one in before if one["index"] == entry["index"]]
                if same:
                    _add(entry, same[0])
                else:
                    before.append(entry)
