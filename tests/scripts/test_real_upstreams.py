"""The suite for real upstreams, without one: it says what is wrong and goes on."""

from scripts.real_upstreams.suite import CHECKS, run
from tests.support.gateway import closed_port, running_gateway
from tests.support.upstream import Upstream


def test_every_check_fails_where_nothing_answers_and_the_next_has_its_turn() -> None:
    with closed_port() as port:
        results = list(run(f"http://127.0.0.1:{port}/v1"))
    assert [name for name, _ in results] == list(CHECKS)
    assert all(wrong for _, wrong in results)


def test_the_checks_tell_another_upstream_from_the_one_they_are_for(upstream: Upstream) -> None:
    with running_gateway(LLAMACPP_BASE_URL=upstream.url) as live:
        results = dict(run(f"{live.base_url}/llamacpp/v1"))
    assert results["chat is answered"] == ""
    assert results["chat is streamed"] == ""
    assert results["openais sdk works"] == ""
    assert "AssertionError" in results["models are listed"]
    assert "AssertionError" in results["a 500 is a 502 without internals"]
