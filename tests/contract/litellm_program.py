"""What LiteLLM's client raises for each kind of failure, at a vendor and at a gateway in front of it.

Runs in an environment of its own, see `test_error_classes.py`. The addresses, the keys and the kinds come from the
environment; the answer is one line of JSON.
"""

import asyncio
import json
import os
import sys
from typing import Any

import litellm  # type: ignore[import-not-found] # it is not in this environment

ASK = [{"role": "user", "content": "Hello"}]
PLACES = json.loads(os.environ["PLACES"])
KINDS = json.loads(os.environ["KINDS"])


async def failure(place: dict[str, str], kind: str, *, stream: bool) -> list[Any]:
    """The class and the status of what is raised."""
    key = place["wrong" if kind == "key" else "key"]
    asked = {"model": f"openai/{kind}", "messages": ASK, "api_base": place["url"], "api_key": key}
    try:
        reply = await litellm.acompletion(**asked, stream=stream, num_retries=0, timeout=20)
        if stream:
            async for _ in reply:
                pass
    except Exception as error:  # whatever it is, it is the answer
        return [type(error).__name__, getattr(error, "status_code", None)]
    return ["nothing", None]


async def main() -> None:
    """Every kind at both places."""
    litellm.suppress_debug_info = True
    found = {}
    for kind in KINDS:
        for stream in [True] if kind.startswith("mid-") else [False, True]:
            case = f"{kind} {'stream' if stream else 'whole'}"
            found[case] = await asyncio.gather(*[failure(place, kind, stream=stream) for place in PLACES])
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    asyncio.run(main())
