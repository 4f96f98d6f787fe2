"""The events of a response as chunks of a chat completion."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ai_gateway.translate.chat_responses.lost_fields import REASONING
from ai_gateway.translate.chat_responses.reply import annotation, apart, finish, head, moved, parts_of, summary, usage
from ai_gateway.translate.chat_responses.tools import call

type Fields = Mapping[str, Any]


class ResponseStreamTranslator:
    """Translates the events of one stream; `complete` after the one that ends a whole response.

    Finish reason and usage come with that event, so that a truncated stream never looks finished. For failed responses
    see `failure`.
    """

    def __init__(self) -> None:
        self.complete = False
        self.failure: Fields | None = None
        self._head: dict[str, Any] = {}
        self._calls: dict[object, int] = {}
        self._sent: set[object] = set()
        self._cited: set[object] = set()
        self._closed: set[object] = set()
        self._passed: dict[object, dict[str, Any]] = {}
        self._length = 0
        self._begins: dict[object, int] = {}
        self._thought = False
        self._read: dict[str, Callable[[Fields], Iterator[dict[str, Any]]]] = {
            "response.created": self._begin,
            "response.output_text.delta": self._text,
            "response.output_text.annotation.added": self._cite,
            "response.refusal.delta": self._refuse,
            "response.reasoning_summary_text.delta": self._think,
            "response.reasoning_text.delta": self._think,
            "response.output_item.added": self._open,
            "response.function_call_arguments.delta": self._argue,
            "response.custom_tool_call_input.delta": self._argue,
            "response.output_item.done": self._close,
            "response.completed": self._end,
            "response.incomplete": self._end,
            "response.failed": self._fail,
            "error": self._fail,
        }

    def feed(self, event: Fields) -> Iterator[dict[str, Any]]:
        """The chunks of one event; none for types without a counterpart and for unknown ones."""
        read = self._read.get(str(event.get("type")))
        return iter(()) if read is None else read(event)

    def _begin(self, event: Fields) -> Iterator[dict[str, Any]]:
        self._head = head(event.get("response") or {})
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _text(self, event: Fields) -> Iterator[dict[str, Any]]:
        text = str(event.get("delta") or "")
        self._begins.setdefault((event.get("output_index"), event.get("content_index")), self._length)
        self._length += len(text)
        self._sent.add(event.get("output_index"))
        chunk = self._chunk({"content": text})
        if event.get("logprobs"):
            chunk["choices"][0]["logprobs"] = {"content": event["logprobs"], "refusal": None}
        yield chunk

    def _cite(self, event: Fields) -> Iterator[dict[str, Any]]:
        value = event.get("annotation")
        if isinstance(value, dict):
            self._cited.add(event.get("output_index"))
            start = self._begins.get((event.get("output_index"), event.get("content_index")), 0)
            yield self._chunk(apart([annotation(moved(value, start))]))

    def _refuse(self, event: Fields) -> Iterator[dict[str, Any]]:
        self._sent.add(event.get("output_index"))
        yield self._chunk({"refusal": str(event.get("delta") or "")})

    def _think(self, event: Fields) -> Iterator[dict[str, Any]]:
        place = event.get("output_index"), event.get("summary_index", event.get("content_index"))
        apart = "\n\n" if self._thought and place not in self._begins else ""
        self._thought = True
        self._begins.setdefault(place, self._length)
        self._sent.add(event.get("output_index"))
        yield self._chunk({"reasoning_content": apart + str(event.get("delta") or "")})

    def _open(self, event: Fields) -> Iterator[dict[str, Any]]:
        item = event.get("item") or {}
        made = call(item)
        if made is not None:
            place = event.get("output_index")
            index = self._calls[place] = len(self._calls)
            # Arguments follow in deltas or when the item is done; some upstreams have them here as well.
            self._passed[place] = {name: text for name, text in made[made["type"]].items() if name != "name" and text}
            made[made["type"]] |= dict.fromkeys(self._passed[place], "")
            if made["type"] == "custom":  # the contract's chunks have no type for custom calls
                del made["type"]
            yield self._chunk({"tool_calls": [{"index": index, **made}]})

    def _argue(self, event: Fields) -> Iterator[dict[str, Any]]:
        place = event.get("output_index")
        index = self._calls.get(place)
        if index is not None:
            self._sent.add(place)
            custom = event.get("type") == "response.custom_tool_call_input.delta"
            kind, name = ("custom", "input") if custom else ("function", "arguments")
            yield self._chunk({"tool_calls": [{"index": index, kind: {name: str(event.get("delta") or "")}}]})

    def _close(self, event: Fields) -> Iterator[dict[str, Any]]:
        """The content of an item that was not streamed in deltas."""
        item, place = event.get("item") or {}, event.get("output_index")
        self._closed.add(place)
        made = call(item)
        if made is not None:
            if place not in self._calls:
                yield from self._open(event)
            if place not in self._sent and (passed := _without_name(made) or self._passed.get(place)):
                self._sent.add(place)
                yield self._chunk({"tool_calls": [{"index": self._calls[place], made["type"]: passed}]})
        elif item.get("type") == "reasoning":
            reasoning = {} if place in self._sent or not (text := summary(item)) else {"reasoning_content": text}
            yield self._chunk({**reasoning, REASONING: [item]})
        elif item.get("type") == "message":
            yield from self._whole(item, place)
        elif item:
            yield self._chunk({"other_items": [item]})

    def _whole(self, item: Fields, place: object) -> Iterator[dict[str, Any]]:
        """A message's texts and citations that were not sent before."""
        for at, part in enumerate(parts_of(item)):
            name = "text" if part.get("type") == "output_text" else "refusal"
            if (text := part.get(name)) and place not in self._sent:
                self._begins[place, at] = self._length
                self._length += len(text) if name == "text" else 0
                chunk = self._chunk({"content" if name == "text" else name: text})
                if part.get("logprobs"):
                    chunk["choices"][0]["logprobs"] = {"content": part["logprobs"], "refusal": None}
                yield chunk
            if part.get("annotations") and place not in self._cited:
                start = self._begins.get((place, at), 0)
                cited = [annotation(moved(each, start)) for each in part["annotations"] if isinstance(each, dict)]
                yield self._chunk(apart(cited))

    def _end(self, event: Fields) -> Iterator[dict[str, Any]]:
        response = event.get("response") or {}
        if None not in self._sent | self._closed | self._calls.keys():  # else it is unknown which items were sent
            for place, item in enumerate(response.get("output") or ()):
                if place not in self._closed:
                    yield from self._close({"output_index": place, "item": item})
        self.complete = True
        self._head |= head(response)
        last = self._chunk({})
        last["choices"][0]["finish_reason"] = finish(response, calls=bool(self._calls))
        yield last
        counts = usage(response.get("usage"))
        if counts is not None:
            yield {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": counts}

    def _fail(self, event: Fields) -> Iterator[dict[str, Any]]:
        failed = event.get("response") or event
        self.failure = {
            "error": failed.get("error") or {name: failed.get(name) for name in ("code", "message", "param")}
        }
        yield from ()

    def _chunk(self, delta: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}


def _without_name(made: Fields) -> dict[str, Any]:
    """A call's arguments, without the name that was sent before."""
    return {name: text for name, text in made[made["type"]].items() if name != "name" and text}
