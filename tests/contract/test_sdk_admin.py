"""OpenAI's own Python SDK as an administrator's program: what one does in a day, each reply exactly typed."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.administration import ADMIN_KEY, ADMINISTERED
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(**ADMINISTERED)


@pytest.fixture
def client(live: LiveGateway) -> Iterator[OpenAI]:
    """A client that refuses a reply which is not exactly typed."""
    url = f"{live.base_url}/v1"
    with OpenAI(
        base_url=url, api_key=TEST_KEY, admin_api_key=ADMIN_KEY, max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture
async def others(live: LiveGateway) -> AsyncIterator[AsyncOpenAI]:
    url = f"{live.base_url}/v1"
    async with AsyncOpenAI(base_url=url, api_key=TEST_KEY, admin_api_key=ADMIN_KEY, max_retries=0) as made:
        yield made


def infer(client: OpenAI, key: str) -> str:
    reply = client.with_options(api_key=key).chat.completions.create(
        model="custom-chat", messages=[{"role": "user", "content": "Hello"}]
    )
    return reply.choices[0].message.content or ""


def test_a_person_gets_a_limited_key_which_is_rotated_and_revoked(client: OpenAI) -> None:
    projects = client.admin.organization.projects
    project = projects.create(name="SDK").id
    limits = {"spend_limit": {"threshold_amount": 500, "currency": "USD", "interval": "day", "time_zone": "Asia/Tokyo"}}
    account = projects.service_accounts.create(project, name="alice", expires_in_seconds=3600, extra_body=limits)
    assert account.api_key is not None
    assert account.api_key.expires_at is not None
    shown = projects.api_keys.retrieve(account.api_key.id, project_id=project)
    assert shown.model_extra is not None
    assert shown.model_extra["spend_limit"] == limits["spend_limit"]
    second = projects.service_accounts.api_keys.create(account.id, project_id=project, name="next")
    assert infer(client, second.value)
    assert [key.id for key in projects.api_keys.list(project, limit=1)] == [account.api_key.id, second.id]
    assert projects.api_keys.delete(account.api_key.id, project_id=project).deleted
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
        infer(client, account.api_key.value)
    later = projects.api_keys.update(second.id, project_id=project, expires_in_seconds=60)
    assert later.expires_at is not None
    assert projects.archive(project).status == "archived"
    with pytest.raises(openai.AuthenticationError):
        infer(client, second.value)
    with pytest.raises(openai.BadRequestError, match="archived"):
        projects.service_accounts.create(project, name="bob")


def test_limits_alerts_and_permissions_are_set_and_read_back(client: OpenAI) -> None:
    organization = client.admin.organization
    project = organization.projects.create(name="Limits").id
    rates = organization.projects.rate_limits
    assert rates.update_rate_limit("rl-a/b", project_id=project, max_tokens_per_1_minute=9).model == "a/b"
    assert [row.id for row in rates.list_rate_limits(project)] == ["rl-*", "rl-a/b"]
    spend = organization.projects.spend_limit
    assert spend.update(project, currency="USD", interval="month", threshold_amount=7).threshold_amount == 7
    assert spend.retrieve(project).enforcement.status == "inactive"
    assert spend.delete(project).deleted
    with pytest.raises(openai.NotFoundError, match="No spend limit is set"):
        spend.retrieve(project)
    alert = organization.projects.spend_alerts.create(
        project,
        currency="USD",
        interval="month",
        threshold_amount=5,
        notification_channel={"type": "email", "recipients": ["a@b.example"]},
    )
    assert [each.id for each in organization.projects.spend_alerts.list(project)] == [alert.id]
    models = organization.projects.model_permissions.update(project, mode="deny_list", model_ids=["m"])
    assert models.api_model_ids == ["m"]
    tools = organization.projects.hosted_tool_permissions.update(project, mcp={"enabled": True})
    assert (tools.mcp.enabled, tools.web_search.enabled) == (True, False)
    acts = list(organization.audit_logs.list(project_ids=[project], limit=2))
    assert len(acts) == 7
    assert acts[-1].type == "project.created"


@pytest.mark.anyio
async def test_the_asynchronous_client_goes_through_pages_and_learns_what_it_may_not(others: AsyncOpenAI) -> None:
    organization = others.admin.organization
    made = [(await organization.admin_api_keys.create(name=f"key {number}")).id for number in range(3)]
    listed = [key.id async for key in organization.admin_api_keys.list(limit=2, order="desc")]
    assert [key for key in listed if key in made] == made[::-1]
    with pytest.raises(openai.BadRequestError) as refused:
        await organization.projects.list(limit=101)
    assert refused.value.param == "limit"
    caller = others.with_options(admin_api_key=TEST_KEY).admin.organization
    with pytest.raises(openai.PermissionDeniedError, match="You have insufficient permissions for this operation"):
        await caller.projects.list()
    with pytest.raises(openai.NotFoundError, match="This gateway has no users"):
        await organization.users.list()
    with pytest.raises(openai.PermissionDeniedError, match="administrator's key"):
        await others.with_options(api_key=ADMIN_KEY).models.list()
