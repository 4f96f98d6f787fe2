"""A project with a budget, and a key in it, with OpenAI's SDK.

Another gateway: set GATEWAY_URL, and in ADMIN_API_KEY its administrator's key.
"""

import os

from openai import OpenAI

gateway = os.environ.get("GATEWAY_URL", "http://127.0.0.1:9000")
organization = OpenAI(base_url=f"{gateway}/v1", admin_api_key=os.environ["ADMIN_API_KEY"]).admin.organization

project = organization.projects.create(name="research")
organization.projects.spend_limit.update(project.id, threshold_amount=5_000, currency="USD", interval="month")
organization.projects.rate_limits.update_rate_limit("rl-*", project_id=project.id, max_requests_per_1_minute=60)

# What the official service does not have, such as a budget for one key, goes into extra_body.
budget = {"threshold_amount": 200, "currency": "USD", "interval": "day"}
alice = organization.projects.service_accounts.create(project.id, name="alice", extra_body={"spend_limit": budget})
key = alice.api_key
if key is None:
    raise SystemExit("The gateway has made no key.")
print(f"The key of {alice.name}, shown this once: {key.value}")

client = OpenAI(base_url=f"{gateway}/v1", api_key=key.value)
reply = client.chat.completions.with_raw_response.create(
    model=os.environ.get("GATEWAY_MODEL", "custom/custom-chat"),
    messages=[{"role": "user", "content": "What is a budget?"}],
)
print(f"Requests left in this minute: {reply.headers['x-ratelimit-remaining-requests']}")
print(f"Cost: ${reply.headers['x-gateway-cost']}")

organization.projects.api_keys.delete(key.id, project_id=project.id)
