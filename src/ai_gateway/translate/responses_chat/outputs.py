"""Outputs of client tools as results of functions."""

from typing import TypeGuard

import orjson
from pydantic import BaseModel

from ai_gateway.translate.gateway_tools import CODE_FUNCTION, SEARCH_FUNCTION
from ai_gateway.translate.responses_chat import parts
from ai_gateway.translate.responses_chat.ran import RanItems
from gateway_contract.openai_responses import models as responses

type Output = (
    responses.FunctionCallOutputItemParam
    | responses.CustomToolCallOutput
    | responses.LocalShellToolCallOutput
    | responses.FunctionShellCallOutputItemParam
    | responses.ApplyPatchToolCallOutputItemParam
    | responses.ToolSearchOutputItemParam
)
_OUTPUTS = {
    responses.FunctionCallOutputItemParam,
    responses.CustomToolCallOutput,
    responses.LocalShellToolCallOutput,
    responses.FunctionShellCallOutputItemParam,
    responses.ApplyPatchToolCallOutputItemParam,
    responses.ToolSearchOutputItemParam,
}


def is_output(item: BaseModel) -> TypeGuard[Output]:
    """Whether an item is an output. `isinstance` of a model is slow for anything else."""
    return item.__class__ in _OUTPUTS


def output_parts(output: Output, at: str) -> list[parts.UserPart]:
    """The texts, images and files of an output. Raises UnsupportedValue for other content."""
    match output:
        case responses.FunctionShellCallOutputItemParam():
            return [parts.text_part(_shell(output))]
        case responses.ApplyPatchToolCallOutputItemParam():
            failed = f"{output.status}: {output.output}" if output.output and output.status != "completed" else ""
            return [parts.text_part(failed or output.output or output.status)]
        case responses.ToolSearchOutputItemParam():
            found = [tool.model_dump(exclude_unset=True, exclude_none=True) for tool in output.tools]
            return [parts.text_part(orjson.dumps({"tools": found}).decode())]
        case _:
            content = output.output
    if isinstance(content, str):
        return [parts.text_part(content)]
    return parts.user_parts(content, f"{at}.output")


def _shell(output: responses.FunctionShellCallOutputItemParam) -> str:
    """Output and exit of shell commands as JSON, so that the model sees every field."""
    ran = [each.model_dump(exclude_unset=True, exclude_none=True) for each in output.output]
    return orjson.dumps({"output": ran}).decode()


def ran_before(item: BaseModel, ran: RanItems) -> tuple[str, str, str, str] | None:
    """Id, function, arguments and result of a server-run call; None without a result."""
    match item:
        case responses.MCPToolCall() if item.output is not None or item.error is not None:
            result = item.output if item.output is not None else _error(item)
            return item.id, ran.function_of(item.server_label, item.name), item.arguments or "{}", result
        case responses.CodeInterpreterToolCall() if item.outputs:
            logs = [each.logs for each in item.outputs or () if isinstance(each, responses.CodeInterpreterOutputLogs)]
            arguments = orjson.dumps({"code": item.code or ""}).decode()
            return item.id, CODE_FUNCTION, arguments, "\n".join(logs) or "(no output)"
        case responses.WebSearchToolCall(action=responses.WebSearchActionSearch() as action) if action.sources:
            found = "\n".join(str(getattr(source, "url", "")) for source in action.sources)
            query = action.query or "; ".join(action.queries or ())
            return (
                item.id or "call_search",
                SEARCH_FUNCTION,
                orjson.dumps({"query": query}).decode(),
                f"Found:\n{found}",
            )
        case _:
            return None


def _error(item: responses.MCPToolCall) -> str:
    assert item.error is not None  # noqa: S101 - or it is no call with a result
    return orjson.dumps(item.error.model_dump(exclude_unset=True)).decode()
