"""An answer as it comes, with OpenAI's SDK. A stream that breaks off is an error and not a short answer."""

import os
import sys

from openai import APIError, OpenAI

client = OpenAI(
    base_url=os.environ.get("GATEWAY_BASE_URL", "http://127.0.0.1:9000/custom/v1"),
    api_key=os.environ.get("GATEWAY_API_KEY", "unused"),
)
stream = client.chat.completions.create(
    model=os.environ.get("GATEWAY_MODEL", "custom-chat"),
    messages=[{"role": "user", "content": "What is a gateway?"}],
    stream=True,
)
try:
    for chunk in stream:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
    print()
except APIError as error:
    sys.exit(f"\nThe answer is not complete: {error.message}")
