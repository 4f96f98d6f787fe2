"""Items of the Responses API as chat's messages."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from ai_gateway.errors import GatewayError
from ai_gateway.translate.responses_chat.conversation import Conversation
from ai_gateway.translate.responses_chat.envelope import Sealer
from ai_gateway.translate.responses_chat.offered import Offered
from gateway_contract.openai_responses import models

ITEMS = TypeAdapter(list[models.InputItem])
SEALER = Sealer(lambda provider: provider.encode(), "project")
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}


def conversed(*items: dict[str, Any], provider: str = "lab") -> tuple[list[dict[str, Any]], Conversation]:
    conversation = Conversation(Offered(), SEALER, provider)
    conversation.add_all([*ITEMS.validate_python([*items], strict=True)])
    dumped = [
        message.model_dump(by_alias=True, exclude_unset=True, warnings=False) for message in conversation.messages
    ]
    return [plain(fields) for fields in dumped], conversation


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if each is not None}
    return [plain(each) for each in value] if isinstance(value, list) else value


def call(name: str, call_id: str, arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "name": name, "call_id": call_id, "arguments": arguments, **more}


def output(call_id: str, said: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": said}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(*calls: tuple[str, str, str], content: Any = None) -> dict[str, Any]:
    made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    said = {} if content is None else {"content": content}
    return {"role": "assistant", **said, **({"tool_calls": made} if made else {})}


def result(call_id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def test_calls_and_their_outputs_become_one_assistant_message_and_its_results() -> None:
    messages, _ = conversed(
        user("go"),
        {"type": "message", "role": "assistant", "content": "I look."},
        call("read", "a", '{"p":1}'),
        call("list", "b"),
        output("b", "two"),
        user("quick"),
        output("a", "one"),
    )
    assert messages == [
        user("go"),
        assistant(("a", "read", '{"p":1}'), ("b", "list", "{}"), content="I look."),
        result("a", "one"),
        result("b", "two"),
        user("quick"),
    ]


def test_texts_before_and_after_a_call_are_of_its_message() -> None:
    messages, _ = conversed(
        {"role": "assistant", "content": "Before."},
        call("read", "a"),
        {"role": "assistant", "content": "After."},
        output("a", "x"),
    )
    texts = [{"type": "text", "text": "Before."}, {"type": "text", "text": "After."}]
    assert messages == [assistant(("a", "read", "{}"), content=texts), result("a", "x")]


def test_answers_without_calls_stay_apart() -> None:
    messages, _ = conversed({"role": "assistant", "content": "One."}, {"role": "assistant", "content": "Two."})
    assert messages == [assistant(content="One."), assistant(content="Two.")]


def test_two_calls_with_one_id_keep_their_own_outputs() -> None:
    messages, _ = conversed(call("a", "x"), call("b", "x"), output("x", "of a"), output("x", "of b"))
    assert messages == [assistant(("x", "a", "{}"), ("x_2", "b", "{}")), result("x", "of a"), result("x_2", "of b")]


def test_images_of_outputs_stay_in_their_results() -> None:
    messages, _ = conversed(
        call("see", "a"), call("read", "b"), output("a", [IMAGE]), output("b", [{"type": "input_text", "text": "t"}])
    )
    url = {"url": IMAGE["image_url"], "detail": "low"}
    assert messages[1:] == [result("a", [{"type": "image_url", "image_url": url}]), result("b", "t")]


@pytest.mark.parametrize(
    ("item", "name", "arguments"),
    [
        (
            {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "*** Begin"},
            "patch",
            '{"input":"*** Begin"}',
        ),
        (call("close", "a", namespace="agents"), "agents__close", "{}"),
        (
            {"type": "tool_search_call", "call_id": "a", "execution": "client", "arguments": {"query": "x"}},
            "tool_search",
            '{"query":"x"}',
        ),
        (
            {
                "type": "local_shell_call",
                "id": "lsh_1",
                "call_id": "a",
                "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}},
            },
            "local_shell",
            '{"command":["ls"],"env":{}}',
        ),
        (
            {"type": "shell_call", "call_id": "a", "action": {"commands": ["ls"]}},
            "shell",
            '{"commands":["ls"]}',
        ),
        (
            {
                "type": "apply_patch_call",
                "call_id": "a",
                "status": "completed",
                "operation": {"type": "delete_file", "path": "f"},
            },
            "apply_patch",
            '{"type":"delete_file","path":"f"}',
        ),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else "",
)
def test_each_kind_of_call_is_one_of_a_function(item: dict[str, Any], name: str, arguments: str) -> None:
    messages, _ = conversed(item)
    assert messages == [assistant(("a", name, arguments))]


@pytest.mark.parametrize(
    ("called", "came", "text"),
    [
        (
            {"type": "custom_tool_call", "call_id": "a", "name": "p", "input": ""},
            {"type": "custom_tool_call_output", "call_id": "a", "output": "ok"},
            "ok",
        ),
        (
            {
                "type": "local_shell_call",
                "id": "a",
                "call_id": "c",
                "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}},
            },
            {"type": "local_shell_call_output", "id": "a", "output": "f"},
            "f",
        ),
        (
            {
                "type": "apply_patch_call",
                "call_id": "a",
                "status": "completed",
                "operation": {"type": "delete_file", "path": "f"},
            },
            {"type": "apply_patch_call_output", "call_id": "a", "status": "failed", "output": "no such file"},
            "failed: no such file",
        ),
        (
            {"type": "shell_call", "call_id": "a", "action": {"commands": ["ls"]}},
            {
                "type": "shell_call_output",
                "call_id": "a",
                "output": [{"stdout": "f", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
            },
            '{"output":[{"stdout":"f","stderr":"","outcome":{"type":"exit","exit_code":0}}]}',
        ),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else "",
)
def test_each_kind_of_output_is_the_result_of_its_call(called: dict[str, Any], came: dict[str, Any], text: str) -> None:
    messages, _ = conversed(called, came)
    assert messages[1:] == [result(messages[0]["tool_calls"][0]["id"], text)]


def test_what_a_search_has_found_is_offered_and_told() -> None:
    tools = [{"type": "namespace", "name": "n", "description": "", "tools": [{"type": "function", "name": "f"}]}]
    messages, conversation = conversed(
        {"type": "tool_search_call", "call_id": "a", "execution": "client", "arguments": {"query": "x"}},
        {"type": "tool_search_output", "call_id": "a", "execution": "client", "tools": tools},
    )
    assert '"name":"f"' in messages[1]["content"]
    assert [*conversation._offered.functions] == ["n__f"]


def test_reasoning_goes_back_to_its_provider_sealed_and_to_others_as_text() -> None:
    blocks: list[Any] = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    sealed = SEALER.seal("claude", {"thinking_blocks": blocks})
    summary = [{"type": "summary_text", "text": "hm"}]
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "content": None, "encrypted_content": sealed}
    said = {"role": "assistant", "content": "yes"}
    there, _ = conversed(item, said, provider="claude")
    assert there == [{**assistant(content="yes"), "reasoning_content": "hm", "thinking_blocks": blocks}]
    elsewhere, _ = conversed(item, said, provider="lab")
    assert elsewhere == [{**assistant(content="yes"), "reasoning_content": "hm"}]


@pytest.mark.parametrize("sealed", [None, "", "gw1.opaque", "gAAAAAB-foreign", "gw1.YQ.YQ.YQ", "gw1.é.é.é"])
def test_foreign_reasoning_is_passed_over(sealed: str | None) -> None:
    item: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    messages, _ = conversed(item, {"role": "assistant", "content": "yes"})
    assert messages == [assistant(content="yes")]


def test_what_servers_ran_is_dropped_and_named() -> None:
    messages, conversation = conversed(
        user("go"),
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
    )
    assert messages == [user("go")]
    assert conversation.dropped == {"input.web_search_call"}


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([user("a"), output("gone", "x")], "input[1].call_id"),
        ([{"type": "item_reference", "id": "msg_1"}], "input[0].id"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], "input[0].content[0].file_id"),
        (
            [{"role": "user", "content": [{"type": "input_file", "file_url": "http://x"}]}],
            "input[0].content[0].file_url",
        ),
        ([{"role": "system", "content": [IMAGE]}], "input[0].content[0]"),
        ([{"type": "compaction", "encrypted_content": "foreign"}], "input[0].encrypted_content"),
        ([{"type": "compaction_trigger"}, user("x")], "input[0].type"),
        (
            [call("a", "a"), output("a", [{"type": "input_image", "file_id": "f"}])],
            "input[1].output[0].file_id",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_chat_cannot_say_is_refused_by_the_name_of_its_item(items: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        conversed(*items)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_seal_is_for_one_project_and_one_text() -> None:
    sealed = SEALER.seal("p", {"summary": "s"})
    assert SEALER.open(sealed) == ("p", {"summary": "s"})
    assert Sealer(SEALER.key, "other").open(sealed) is None
    assert Sealer(lambda _: b"other", "project").open(sealed) is None
    assert SEALER.open(sealed[:-1] + ("A" if sealed[-1] != "A" else "B")) is None
