"""The reader of a relayed reply, by its wire."""

from ai_gateway.conform.relayed_message import RelayedMessage
from ai_gateway.conform.relayed_reply import Relayed
from ai_gateway.conform.relayed_response import RelayedResponse
from ai_gateway.conform.source import Source
from ai_gateway.contract.call import Notes
from ai_gateway.contract.native import ANTHROPIC, NativeOperation


def relayed(operation: NativeOperation, notes: Notes, source: Source, request_id: str = "") -> Relayed:
    """The reader of an operation's replies from this provider."""
    return (RelayedMessage if operation.wire == ANTHROPIC else RelayedResponse)(notes, source, request_id)
