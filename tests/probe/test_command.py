"""The command as its users meet it: exit codes, what is printed where, and what never is."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ai_gateway.probe.catalogue import CHECKS, GROUPS
from tests.probe.sloppy import careless_upstream, url
from tests.support.command import Ended, run_command
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, SharedGateways, closed_port, run_cli
from tests.support.upstream import Upstream

SECRET = "sk-canary-0123456789"


@pytest.fixture(scope="module")
def upstream(gateway: LiveGateway) -> Iterator[Upstream]:
    with careless_upstream(f"{gateway.base_url}/custom/v1") as running:
        yield running


def probe(*arguments: str, **env: str) -> Ended:
    return run_command("probe", *arguments, **{"COLUMNS": "100", **env})


def custom(gateway: LiveGateway) -> str:
    return f"{gateway.base_url}/custom/v1"


def parsed(done: Ended) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_the_built_in_provider_is_all_green(gateway: LiveGateway) -> None:
    done = run_cli("probe", custom(gateway), "--key", TEST_KEY, COLUMNS="100")
    assert done.returncode == 0, done.stdout
    (total,) = (line for line in done.stdout.splitlines() if "│ all " in line)
    assert [int(word) for word in total.split() if word.isdigit()] == [len(CHECKS), 0, 0]
    assert len(done.stderr.splitlines()) == len(CHECKS)
    assert f"[{len(CHECKS)}/{len(CHECKS)}] passed" in done.stderr
    assert TEST_KEY not in done.stdout + done.stderr


def test_the_root_of_the_gateway_is_all_green_as_well(gateway: LiveGateway) -> None:
    done = probe(f"{gateway.base_url}/v1", "--json", PROBE_API_KEY=TEST_KEY)
    assert (done.returncode, parsed(done)["summary"]["failed"]) == (0, 0), done.stdout


@pytest.fixture(scope="module")
def open_gateway(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(ALLOWED_API_KEYS="")


def test_without_a_key_only_the_checks_of_keys_are_skipped(open_gateway: LiveGateway) -> None:
    result = parsed(probe(custom(open_gateway), "--json"))
    assert result["summary"] == {"passed": len(CHECKS) - 6, "failed": 0, "skipped": 6}
    skipped = [check for check in result["checks"] if check["verdict"] == "skipped"]
    assert all("no key was given" in check["reason"] for check in skipped)
    assert {check["group"] for check in skipped} == {"errors", "headers"}


def test_json_says_all_of_it_and_stands_alone_on_standard_output(upstream: Upstream) -> None:
    done = probe(url(upstream, "no-done"), "--key", TEST_KEY, "--json", "--only", "stream")
    assert done.returncode == 1
    result = parsed(done)
    assert result.keys() == {"url", "model", "embedding_model", "summary", "checks"}
    assert (result["url"], result["model"]) == (url(upstream, "no-done"), "custom-chat")
    assert result["embedding_model"] == "custom-embedding"
    assert sum(result["summary"].values()) == len(result["checks"]) == sum(check.group == "stream" for check in CHECKS)
    (failed,) = (check for check in result["checks"] if check["id"] == "stream-done")
    assert failed.keys() == {"id", "group", "title", "rule", "verdict", "expected", "seen", "seconds"}
    assert "[DONE]" in failed["expected"]
    assert "finish_reason" in failed["seen"]
    passed = next(check for check in result["checks"] if check["verdict"] == "passed")
    assert passed.keys() == {"id", "group", "title", "rule", "verdict", "seconds"}


def test_failures_are_listed_with_what_was_expected_and_seen(upstream: Upstream) -> None:
    done = probe(url(upstream, "detail-errors"), "--key", TEST_KEY, "--only", "bad input")
    assert done.returncode == 1
    assert "FAILED bad-n: Zero choices [names-the-param]" in done.stdout
    assert "expected: a valid ErrorResponse" in done.stdout
    assert '"detail"' in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 600


def test_groups_can_be_chosen_and_repeated(gateway: LiveGateway) -> None:
    done = probe(custom(gateway), "--key", TEST_KEY, "--json", "--only", "models", "--only", "embeddings")
    assert {check["group"] for check in parsed(done)["checks"]} == {"models", "embeddings"}


def test_models_can_be_chosen(gateway: LiveGateway) -> None:
    chosen = ("--model", "my-model", "--embedding-model", "my-vectors", "--only", "chat")
    result = parsed(probe(custom(gateway), "--key", TEST_KEY, "--json", *chosen))
    assert (result["model"], result["embedding_model"], result["summary"]["failed"]) == ("my-model", "my-vectors", 0)


def test_list_prints_the_checks_and_asks_nobody() -> None:
    done = probe("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [check.id for check in CHECKS]
    rows = json.loads(probe("--list", "--json", "--only", "stream").stdout)
    assert {row["group"] for row in rows} == {"stream"}
    assert rows[0].keys() == {"id", "group", "title", "rule"}


def test_help_names_the_options() -> None:
    reported = run_command("probe", "--help", COLUMNS="200", PROBE_API_KEY=SECRET).stdout
    for option in ("--key", "--model", "--embedding-model", "--only", "--timeout", "--parallel", "--json", "--list"):
        assert option in reported
    assert "PROBE_API_KEY" in reported
    assert SECRET not in reported


def test_a_base_address_without_its_version_is_understood(gateway: LiveGateway) -> None:
    done = probe(f"{gateway.base_url}/custom/", "--key", TEST_KEY, "--json", "--only", "models")
    assert parsed(done)["url"] == custom(gateway)
    assert done.returncode == 0


def unusable(*arguments: str, **env: str) -> str:
    """The one line of a probe that cannot begin: exit code 2, nothing on standard output, no traceback."""
    done = probe(*arguments, **env)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ai-gateway: ")
    return line


def test_an_unreachable_address_is_one_line() -> None:
    with closed_port() as port:
        line = unusable(f"http://{HOST}:{port}/v1", "--key", SECRET)
    assert f"cannot reach http://{HOST}:{port}/v1" in line
    assert SECRET not in line


def test_a_name_that_does_not_resolve_is_one_line() -> None:
    assert "cannot reach http://no-such-host.invalid/v1" in unusable("http://no-such-host.invalid/v1")


@pytest.mark.parametrize(
    "address", ["nonsense", "ftp://host/v1", "http:///v1", "http://host:port/v1", "http://[::1/v1", "http://h/v1?a=b"]
)
def test_an_address_that_is_none_is_one_line(address: str) -> None:
    assert "URL" in unusable(address)


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    assert SECRET not in unusable(f"http://user:{SECRET}@{HOST}/v1")


def test_a_key_that_no_header_can_hold_is_refused_and_not_shown() -> None:
    assert SECRET not in unusable("http://host/v1", "--key", f"{SECRET}\nx: y")


def test_no_address_at_all_is_one_line() -> None:
    assert "needs a URL" in unusable()


@pytest.mark.parametrize("arguments", [("http://host/v1",), ("--list",)])
def test_an_unknown_group_is_one_line_that_names_the_known(arguments: tuple[str, ...]) -> None:
    line = unusable(*arguments, "--only", "streams")
    assert all(group in line for group in GROUPS)


def test_a_wrong_key_is_one_line(gateway: LiveGateway) -> None:
    line = unusable(custom(gateway), "--key", SECRET)
    assert "401" in line
    assert "--key" in line
    assert SECRET not in line


def test_a_server_without_models_is_one_line_unless_one_is_named(gateway: LiveGateway) -> None:
    assert "--model" in unusable(f"{gateway.base_url}/nowhere/v1", "--key", TEST_KEY)
    done = probe(f"{gateway.base_url}/nowhere/v1", "--key", TEST_KEY, "--model", "m", "--only", "chat")
    assert done.returncode == 1


def test_a_server_that_says_nothing_is_one_line_in_time() -> None:
    with socket.create_server((HOST, 0)) as silent:
        line = unusable(f"http://{HOST}:{silent.getsockname()[1]}/v1", "--timeout", "0.3")
    assert "gave no answer" in line


def test_a_server_that_hangs_costs_each_check_its_time_and_no_more(upstream: Upstream) -> None:
    limits = ("--timeout", "0.2", "--parallel", "8", "--only", "chat", "--only", "stream")
    done = probe(url(upstream, "hanging"), "--key", TEST_KEY, "--json", *limits)
    assert parsed(done)["summary"]["passed"] == 0
    assert "within 0.2 s" in done.stdout


def test_an_exchange_that_breaks_off_is_a_failure_and_no_crash(upstream: Upstream) -> None:
    assert "broke off" in unusable(url(upstream, "cut"), "--key", TEST_KEY)


def test_a_key_that_the_server_repeats_is_not_shown(open_gateway: LiveGateway) -> None:
    with careless_upstream(custom(open_gateway)) as upstream:
        for format_ in ([], ["--json"]):
            done = probe(url(upstream, "echo-key"), "--key", SECRET, *format_)
            assert "[key]" in done.stdout
            assert SECRET not in done.stdout + done.stderr
