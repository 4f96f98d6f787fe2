"""The span of a tool that runs, in the trace of the call that it runs for."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from ai_gateway.contract.call import Call
from ai_gateway.observability.trace_names import EXECUTE_TOOL, Name, Step


def tool_span(call: Call, tool: str, call_id: str) -> AbstractContextManager[Mapping[str, str]]:
    """Run a tool in this block. It is given the headers for a request that the tool makes; none without traces.

    What the block raises is told as the tool's failure. Arguments and results are not told.
    """
    if call.trace is None:
        return call.step(Step.TOOL, {})
    named = {Name.OPERATION: EXECUTE_TOOL, Name.TOOL_NAME: tool, Name.TOOL_CALL: call_id, Name.TOOL_TYPE: "function"}
    return call.step(Step.TOOL, named)
