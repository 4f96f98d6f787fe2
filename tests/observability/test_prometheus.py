"""Rules and dashboards, on a real Prometheus that scrapes real gateways."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from scripts.dashboards import FOLDER, dashboards, queries
from tests.support.administration import Administrator
from tests.support.client import ask, client_of, eventually, get
from tests.support.gateway import HOST, ONE_ATTEMPT, TEST_KEY, LiveGateway, SharedGateways, running_gateway
from tests.support.servers import Server, promtool, running_prometheus
from tests.support.upstream import Upstream

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
ADMIN = "sk-admin-0123456789abcdef0123456789abcdef"
CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: ai-gateway
    static_configs: [{{targets: [{targets}]}}]
"""
# What needs a fault that this gateway does not have.
QUIET = ("ai_gateway_lost_calls_total", "ai_gateway_dropped_records_total")


def test_the_dashboards_are_those_of_the_script() -> None:
    for name, text in dashboards().items():
        assert (FOLDER / name).read_text("utf-8") == text, "run `make docs`"


def test_every_call_of_a_model_counts_in_rules_and_dashboards() -> None:
    paths = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))["paths"]
    asked = r"/v1/(chat/completions|completions|embeddings|responses(/compact)?|messages)|/api/(chat|generate|embed\w*)"
    named = {path["post"]["operationId"] for name, path in paths.items() if re.fullmatch(asked, name)}
    assert len(named) == 10
    for text in ((RULES / "rules.yaml").read_text("utf-8"), *dashboards().values()):
        for pattern in set(re.findall(r'operation=~\\?"(create[^"\\]+)', text)):
            for operation in (*named, "makeBackgroundResponse"):
                assert re.fullmatch(pattern, operation.removesuffix("Routed")), (operation, pattern)
            assert not re.fullmatch(pattern, "listModels")


def checked(*arguments: str | Path, text: str | None = None) -> str:
    """What promtool says of it."""
    with promtool() as program:
        done = subprocess.run(
            [program, *arguments], cwd=RULES, input=text, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_alerts_fire_when_they_should_and_else_not() -> None:
    assert "1 rule files found" in checked("check", "config", "prometheus.yml")
    assert "SUCCESS" in checked("test", "rules", "rules_test.yaml")


@pytest.fixture(scope="module")
def busy(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """A gateway that meets everything that its metrics tell of."""
    config = tmp_path_factory.mktemp("busy") / "gateway.toml"
    route = '[routes.both]\ntargets = ["lab/status-500", "lab/good"]\n'
    config.write_text(f'{route}[prices."lab/good"]\ninput = "1"\noutput = "2"\n', "utf-8")
    env = {
        **ONE_ATTEMPT,
        "BREAKER_THRESHOLD": "3",
        "BREAKER_PAUSE_S": "600",
        "GATEWAY_CONFIG": str(config),
        "UNPRICED": "flag",
        "MAX_RETRIES": "1",
        "MAX_IN_FLIGHT": "2",
        "UNKNOWN_PARAMS": "drop",
        "ADMIN_API_KEY": ADMIN,
        "PROVIDER_LAB_BASE_URL": upstream.url,
        "PROVIDER_BAD_BASE_URL": upstream.url,
        "ALLOWED_API_KEYS": TEST_KEY,
    }
    with running_gateway(**env) as live:
        yield live


def keep_busy(live: LiveGateway) -> None:
    """Calls of every kind."""
    ask(live, "good", provider="lab")
    ask(live, "good", provider="lab", stream=True)
    ask(live, "sloppy", provider="lab", own_field=1)
    ask(live, "stream-cut", provider="lab", stream=True)
    ask(live, "status-500", provider="bad")
    ask(live, "both")
    ask(live, "limited", provider="lab")
    get(live, "/lab/v1/models", key="sk-wrong")


@pytest.fixture(scope="module")
def prometheus(busy: LiveGateway, gateway_for: SharedGateways) -> Iterator[Server]:
    other = gateway_for()
    administrator = Administrator(busy, ADMIN)
    administrator.post("spend_limit", {"threshold_amount": 100_000, "currency": "USD", "interval": "month"})
    administrator.post("projects/default/rate_limits/rl-limited", {"max_requests_per_1_minute": 1})
    configuration = CONFIGURATION.format(targets=", ".join(f"'{HOST}:{live.port}'" for live in (busy, other)))
    with running_prometheus(configuration, RULES / "rules.yaml") as server:
        yield server


def shown(server: Server, expression: str) -> bool:
    return bool(asked(server, expression))


def asked(server: Server, expression: str) -> list[dict[str, Any]]:
    reply = httpx2.get(f"http://{HOST}:{server.port}/api/v1/query", params={"query": expression}, trust_env=False)
    assert reply.json()["status"] == "success", (expression, reply.text)
    result: list[dict[str, Any]] = reply.json()["data"]["result"]
    return result


def test_both_gateways_are_scraped(prometheus: Server) -> None:
    eventually(lambda: len(asked(prometheus, "up == 1")) == 2)
    eventually(lambda: len(asked(prometheus, "ai_gateway_build_info")) == 2)


def test_promtool_finds_nothing_to_say_of_the_metrics(busy: LiveGateway) -> None:
    keep_busy(busy)
    assert checked("check", "metrics", text=get(busy, "/metrics").text) == ""


def test_every_query_of_a_dashboard_shows_something(prometheus: Server, busy: LiveGateway, upstream: Upstream) -> None:
    expressions = {
        expression.replace("$__rate_interval", "1m").replace("$job", ".*")
        for text in dashboards().values()
        for expression in queries(json.loads(text))
    }
    assert len(expressions) > 30
    empty = expressions
    until = time.monotonic() + 60
    with client_of(busy) as http:
        body = {"model": "paced#busy", "messages": [{"role": "user", "content": "x"}], "stream": True}
        while empty and time.monotonic() < until:
            with http.stream("POST", "/lab/v1/chat/completions", json=body):  # takes one of two places
                keep_busy(busy)
                with http.stream("POST", "/lab/v1/chat/completions", json=body):
                    assert ask(busy, "good", provider="lab").status_code == 503
            empty = {each for each in empty if not asked(prometheus, each)}
            time.sleep(0.5)
    assert {each for each in empty if not any(name in each for name in QUIET)} == set()


def test_every_rule_is_evaluated_on_what_gateways_tell(prometheus: Server, busy: LiveGateway) -> None:
    expected = [
        rule for group in yaml.safe_load((RULES / "rules.yaml").read_text())["groups"] for rule in group["rules"]
    ]

    def rules() -> list[dict[str, Any]]:
        reply = httpx2.get(f"http://{HOST}:{prometheus.port}/api/v1/rules", trust_env=False)
        return [rule for group in reply.json()["data"]["groups"] for rule in group["rules"]]

    keep_busy(busy)
    eventually(lambda: [rule["health"] for rule in rules()] == ["ok"] * len(expected))
    assert [rule.get("lastError", "") for rule in rules()] == [""] * len(expected)
    until = time.monotonic() + 60
    while not shown(prometheus, "ai_gateway:call_failures:ratio_rate5m > 0") and time.monotonic() < until:
        keep_busy(busy)
    assert shown(prometheus, "ai_gateway:call_failures:ratio_rate5m > 0")
    eventually(lambda: shown(prometheus, 'ALERTS{alertname="AIGatewayBreakerOpen"}'))


def test_the_spend_limit_is_seen(prometheus: Server) -> None:
    eventually(lambda: shown(prometheus, 'ai_gateway_spend_limit_usd{of="organization"} == 1000'))
