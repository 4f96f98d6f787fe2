"""What a request with tools looks like in its trace: each round an attempt, and each tool a span of its own."""

from collections.abc import Iterator

import pytest

from ai_gateway.observability.trace_names import Name
from tests.support.client import post
from tests.support.collector import Collector, running_collector
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream
from tests.tools.asking import SEARCH
from tests.tools.scripted import SCRIPTS, Says, search

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(collector: Collector, model: Upstream) -> Iterator[LiveGateway]:
    env = {"PROVIDER_LAB_BASE_URL": model.url, "TOOL_WEB_SEARCH": "custom", **ONE_ATTEMPT, **collector.env}
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **env) as live:
        yield live


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_each_round_is_an_attempt_and_each_tool_a_span(
    traced: LiveGateway, collector: Collector, model: Upstream, *, stream: bool
) -> None:
    name = f"traced-{stream}"
    SCRIPTS[name] = [Says("", (search("a"), search("b"))), Says("Found it.")]
    body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "tools": [SEARCH], "stream": stream}
    reply = post(traced, "/lab/v1/chat/completions", body, headers={"x-request-id": name})
    assert reply.status_code == 200, reply.text
    own, *others = collector.trace(name, 1 + 2 + 2)
    rounds = sorted((span for span in others if span.kind == "client"), key=lambda span: span.start)
    tools = [span for span in others if span.name.startswith("execute_tool")]
    assert [span.name for span in rounds] == [f"chat {name}"] * 2
    assert {span.name for span in tools} == {"execute_tool gateway_web_search"}
    assert {span.attributes[Name.TOOL_CALL] for span in tools} == {"call_0_0", "call_0_1"}
    assert {span.parent_id for span in (*rounds, *tools)} == {own.span_id}
    assert all(rounds[0].start <= span.start <= span.end <= rounds[1].end for span in tools)
    reported = [(seen.header("traceparent") or "").split("-")[2] for seen in model.seen(name)]
    assert reported == [span.span_id for span in rounds]
