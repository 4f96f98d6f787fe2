"""The span of a tool run, in the trace of its call."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from ai_gateway.contract.call import Call
from ai_gateway.observability.trace_names import EXECUTE_TOOL, Name, Step


def tool_span(call: Call, tool: str, call_id: str) -> AbstractContextManager[Mapping[str, str]]:
    """A span around a tool run. The block gets trace headers for requests of the tool; empty without tracing.

    An exception is recorded as the tool's failure. Arguments and results are not recorded.
    """
    if call.trace is None:
        return call.step(Step.TOOL, {})
    named = {Name.OPERATION: EXECUTE_TOOL, Name.TOOL_NAME: tool, Name.TOOL_CALL: call_id, Name.TOOL_TYPE: "function"}
    return call.step(Step.TOOL, named)
