"""What a client's tools came to, as the results of functions."""

import orjson

from ai_gateway.translate.responses_chat import parts
from gateway_contract.openai_responses import models as responses

type Output = (
    responses.FunctionCallOutputItemParam
    | responses.CustomToolCallOutput
    | responses.LocalShellToolCallOutput
    | responses.FunctionShellCallOutputItemParam
    | responses.ApplyPatchToolCallOutputItemParam
    | responses.ToolSearchOutputItemParam
)
OUTPUTS = (
    responses.FunctionCallOutputItemParam,
    responses.CustomToolCallOutput,
    responses.LocalShellToolCallOutput,
    responses.FunctionShellCallOutputItemParam,
    responses.ApplyPatchToolCallOutputItemParam,
    responses.ToolSearchOutputItemParam,
)


def output_parts(output: Output, at: str) -> list[parts.UserPart]:
    """The texts, images and files of an output. Raises UnsupportedValue for what chat has no word for."""
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
    """What the commands printed, and how they ended, as JSON: the model is to see every field."""
    ran = [each.model_dump(exclude_unset=True, exclude_none=True) for each in output.output]
    return orjson.dumps({"output": ran}).decode()
