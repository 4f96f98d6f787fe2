"""What the fuzzing leaves out, each with the test that covers it instead."""

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Drop requests for spoken answers: the contract allows them, the built-in provider refuses them with 400.

    The refusal has tests of its own, in tests/providers/custom.
    """
    if not isinstance(case.body, dict):
        return True
    wanted = case.body.get("modalities")
    return not (isinstance(wanted, list) and "audio" in wanted)
