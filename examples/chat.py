"""One question, one answer, with OpenAI's SDK. Another gateway: set GATEWAY_BASE_URL and GATEWAY_API_KEY."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("GATEWAY_BASE_URL", "http://127.0.0.1:9000/custom/v1"),
    api_key=os.environ.get("GATEWAY_API_KEY", "unused"),
)
reply = client.chat.completions.create(
    model=os.environ.get("GATEWAY_MODEL", "custom-chat"),
    messages=[{"role": "user", "content": "What is a gateway?"}],
)
print(reply.choices[0].message.content)
