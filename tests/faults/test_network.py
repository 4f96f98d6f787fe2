"""How upstreams are reached: by certificates of their authorities and of the gateway's, and through proxies."""

import base64
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.behaviours import behave
from tests.support.certificate import Authority
from tests.support.client import ask, eventually, get
from tests.support.forward_proxy import ForwardProxy, running_proxy
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, run_cli, running_gateway
from tests.support.list_host import ListHost, item
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

NAME = "up.test"  # which no name server knows
USER, PASSWORD = "gateway", "p ass-7f3e9a21c4"
# A provider for each way in which the gateway speaks HTTP: its own client, and those of SDKs.
WIRES = ["openai", "anthropic", "ollama", "cerebras"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[Upstream]:
    """An upstream that only TLS reaches, and only a client with a certificate of the authority."""
    tls = authority.server("upstream", [f"DNS:{NAME}", "IP:127.0.0.1"], asks_for_certificates=True)
    with running_upstream(behave, tls) as running:
        yield running


@pytest.fixture(scope="module")
def proxy() -> Iterator[ForwardProxy]:
    with running_proxy() as running:
        yield running


@dataclass(frozen=True)
class Site:
    """A gateway, and everything that stands behind it."""

    live: LiveGateway
    proxy: ForwardProxy
    encrypted: Upstream
    plain: Upstream


@contextmanager
def _configured(folder: Path, text: str, **env: str) -> Iterator[LiveGateway]:
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    with running_gateway(GATEWAY_CONFIG=str(path), ALLOWED_API_KEYS=TEST_KEY, **ONE_ATTEMPT, **env) as live:
        yield live


@pytest.fixture(scope="module")
def site(
    authority: Authority,
    encrypted: Upstream,
    proxy: ForwardProxy,
    shared_upstream: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Of each wire a provider by TLS, one in plain text, and one that needs no proxy and gets none."""
    certificate, key = authority.issue("gateway", ["DNS:gateway"])
    own = f"ca_file = '{authority.certificate}'\nclient_certfile = '{certificate}'\nclient_keyfile = '{key}'\n"
    tables = []
    for wire in WIRES:
        tables.append(
            f"[providers.tls-{wire}]\nwire = '{wire}'\nbase_url = 'https://{NAME}:{encrypted.port}/v1'\n{own}"
        )
        tables.append(
            f"[providers.plain-{wire}]\nwire = '{wire}'\nbase_url = 'http://{NAME}:{shared_upstream.port}/v1'\n"
        )
    tables.append(f"[providers.here]\nbase_url = '{shared_upstream.url}'\n")
    tables.append(f"[providers.direct]\nproxy = 'none'\nbase_url = '{encrypted.url}'\n{own}")
    text = "\n".join(table if "api_key" in table else f"{table}api_key = 'sk-network-0123'\n" for table in tables)
    address = f"http://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{proxy.port}"
    with _configured(tmp_path_factory.mktemp("site"), text, HTTPS_PROXY=address, http_proxy=address) as live:
        yield Site(live, proxy, encrypted, shared_upstream)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("wire", WIRES)
def test_an_upstream_is_reached_by_tls_through_a_proxy(site: Site, wire: str, *, streamed: bool) -> None:
    model = f"good#tls {wire} {streamed}"
    before = len(site.proxy.asked)
    answer = ask(site.live, model, provider=f"tls-{wire}", stream=streamed)
    assert site.encrypted.last(model).header("host") == f"{NAME}:{site.encrypted.port}"
    assert site.encrypted.last(model).header("proxy-authorization") is None
    if wire == "openai":
        assert answer.status_code == 200
    for asked in site.proxy.asked[before:]:  # connections are kept, so that there may be none
        assert (asked.method, asked.target) == ("CONNECT", f"{NAME}:{site.encrypted.port}")
        assert asked.headers["proxy-authorization"] == _basic()
    assert any(asked.method == "CONNECT" for asked in site.proxy.asked)


@pytest.mark.parametrize("wire", WIRES)
def test_a_plain_upstream_is_asked_through_the_proxy_by_its_whole_address(site: Site, wire: str) -> None:
    model = f"good#plain {wire}"
    before = len(site.proxy.asked)
    answer = ask(site.live, model, provider=f"plain-{wire}")
    assert site.plain.last(model)
    if wire == "openai":
        assert answer.status_code == 200
    (asked, *_) = site.proxy.asked[before:]
    assert asked.method == "POST"
    assert asked.target.startswith(f"http://{NAME}:{site.plain.port}/")
    assert asked.headers["proxy-authorization"] == _basic()


def _basic() -> str:
    return f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


@pytest.mark.parametrize("provider", ["here", "direct"])
def test_this_machine_and_who_says_so_is_called_directly(site: Site, provider: str) -> None:
    before = len(site.proxy.asked)
    assert ask(site.live, f"good#{provider}", provider=provider).status_code == 200
    assert len(site.proxy.asked) == before


def test_the_proxys_password_is_in_no_log(site: Site) -> None:
    log = site.live.log()
    for secret in (PASSWORD, PASSWORD.replace(" ", "%20"), _basic().removeprefix("Basic ")):
        assert secret not in log


# --- what does not fit -----------------------------------------------------------------------------------------------


REFUSALS = {
    "told": (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "status 407"),
    "page": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "status 502"),
    "said": (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 5\r\n\r\nlogin", "status 407"),
    "long": (b"HTTP/1.0 403 Forbidden\r\n\r\n" + b"<p>" * 10_000, "status 403"),
    "more": (b"HTTP/1.1 200 Connection established\r\n\r\nHello", "no reply to CONNECT"),
    "mail": (b"220 mail.example.com ESMTP\r\n\r\n", "no reply to CONNECT"),
    "endless": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000, "more than a reply's head"),
    "nothing": (b"", "closed the connection"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """Behind proxies that do not open a way, a provider for each."""
    with ExitStack() as proxies:
        text = "".join(
            f"[providers.{name}]\nbase_url = 'https://{NAME}/v1'\n"
            f"proxy = '127.0.0.1:{proxies.enter_context(running_proxy(refusal)).port}'\n"
            for name, (refusal, _) in REFUSALS.items()
        )
        yield proxies.enter_context(_configured(tmp_path_factory.mktemp("refused"), text))


@pytest.mark.parametrize("name", REFUSALS)
def test_a_proxy_that_refuses_is_an_upstream_that_cannot_be_reached(refused: LiveGateway, name: str) -> None:
    answer = ask(refused, "any", provider=name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
    request_id = answer.headers["x-request-id"]
    reported = [str(record) for record in refused.records() if record.get("request_id") == request_id]
    assert any(REFUSALS[name][1] in record for record in reported), reported


@pytest.fixture(scope="module")
def strangers(
    authority: Authority, encrypted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveGateway]:
    """Before the same upstream: one that trusts others, one that shows no certificate, one that checks nothing."""
    folder = tmp_path_factory.mktemp("strangers")
    other = Authority(folder / "other")
    certificate, key = authority.issue("gateway-again", ["DNS:gateway"])
    own = f"client_certfile = '{certificate}'\nclient_keyfile = '{key}'\n"
    checked = "disable_ssl_verification = false\n"
    text = (
        f"[providers.untrusting]\nbase_url = '{encrypted.url}'\nca_file = '{other.certificate}'\n{own}{checked}"
        f"[providers.anonymous]\nbase_url = '{encrypted.url}'\nca_file = '{authority.certificate}'\n{checked}"
        f"[providers.careless]\nbase_url = '{encrypted.url}'\n{own}"
    )
    with _configured(folder, text, DISABLE_SSL_VERIFICATION="true") as live:
        yield live


@pytest.mark.parametrize("provider", ["untrusting", "anonymous"])
def test_who_cannot_be_trusted_gets_no_request(strangers: LiveGateway, encrypted: Upstream, provider: str) -> None:
    answer = ask(strangers, f"good#{provider}", provider=provider)
    assert answer.status_code == 502
    assert encrypted.seen(f"good#{provider}") == []


def test_a_certificate_that_is_not_checked_is_told_at_the_start_and_in_health(strangers: LiveGateway) -> None:
    assert ask(strangers, "good#careless", provider="careless").status_code == 200
    warnings = [record["warning"] for record in strangers.records("configuration")]
    (warning,) = [each for each in warnings if "DISABLE_SSL_VERIFICATION" in each]
    assert "'careless'" in warning
    health = {each["name"]: each for each in get(strangers, "/health").json()["providers"]}
    assert health["careless"]["certificates_checked"] is False
    assert health["untrusting"]["certificates_checked"] is True
    assert "certificates_checked" not in health["custom"]


def test_files_and_proxies_that_cannot_be_used_stop_the_start_and_name_the_setting(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing", encoding="utf-8")
    path = tmp_path / "gateway.toml"
    path.write_text(
        "[providers.a]\nbase_url = 'https://h/v1'\nca_file = '/nowhere/ca.pem'\n"
        f"[providers.b]\nbase_url = 'https://h/v1'\nca_file = '{tmp_path}/empty.pem'\n"
        f"[providers.c]\nbase_url = 'https://h/v1'\nclient_certfile = '{tmp_path}/empty.pem'\n"
        f"[providers.d]\nbase_url = 'https://h/v1'\nclient_keyfile = '{tmp_path}/empty.pem'\n"
        "[providers.e]\nbase_url = 'https://h/v1'\nproxy = 'socks5://user:hunter2hunter2@h:1080'\n"
        "[providers.f]\nbase_url = 'https://h/v1'\napi_key = 'sk-one'\napi_key_file = '/nowhere/key'\n",
        encoding="utf-8",
    )
    done = run_cli("serve", GATEWAY_CONFIG=str(path), HTTPS_PROXY="ftp://proxy:21")
    assert done.returncode == 2
    lines = "\n".join(line for line in done.stderr.splitlines() if "ai-gateway:" in line)
    assert "providers.a.ca_file: '/nowhere/ca.pem' cannot be read: No such file or directory" in lines
    assert f"providers.b.ca_file: '{tmp_path}/empty.pem' holds no certificate of an authority that can be used" in lines
    assert f"providers.c.client_certfile: '{tmp_path}/empty.pem' holds no certificate with its key" in lines
    assert "providers.d.client_keyfile: client_certfile is missing" in lines
    assert "providers.e.proxy: must look like http://user:password@host:3128" in lines
    assert "hunter2" not in done.stderr
    assert "providers.f: api_key and api_key_file are both set" in lines
    assert "HTTPS_PROXY (for provider 'a'; to call it directly, name its host in NO_PROXY)" in lines


# --- what a reload takes ---------------------------------------------------------------------------------------------


def test_a_reload_takes_other_contents_of_the_files(authority: Authority, encrypted: Upstream, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    certificate, key = authority.issue("gateway-renewed", ["DNS:gateway"])
    trusted, secret = tmp_path / "ca.pem", tmp_path / "key.txt"
    trusted.write_bytes(other.certificate.read_bytes())
    secret.write_text("sk-first-0123456789\n", encoding="utf-8")
    text = (
        f"[providers.renewed]\nbase_url = '{encrypted.url}'\napi_key_file = '{secret}'\nca_file = '{trusted}'\n"
        f"client_certfile = '{certificate}'\nclient_keyfile = '{key}'\n"
    )
    with _configured(tmp_path, text) as live:
        assert ask(live, "good#before", provider="renewed").status_code == 502
        trusted.write_bytes(authority.certificate.read_bytes())
        secret.write_text("sk-second-0123456789\n", encoding="utf-8")
        _reload(live)
        assert ask(live, "good#after", provider="renewed").status_code == 200
        assert encrypted.last("good#after").header("authorization") == "Bearer sk-second-0123456789"


def _reload(live: LiveGateway) -> None:
    before = len(live.records("configuration reloaded"))
    live.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while len(live.records("configuration reloaded")) == before:
        assert time.monotonic() < deadline, live.log()


def test_a_reload_trusts_what_the_system_trusts_now(tmp_path: Path) -> None:
    authorities = [Authority(tmp_path / name) for name in ("former", "present")]
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authorities[0].certificate.read_bytes())
    with running_upstream(behave, authorities[1].server("upstream", ["IP:127.0.0.1"])) as upstream:
        text = f"[providers.up]\nbase_url = '{upstream.url}'\n"
        with _configured(tmp_path, text, SSL_CERT_FILE=str(trusted)) as live:
            assert ask(live, "good", provider="up").status_code == 502
            trusted.write_bytes(authorities[1].certificate.read_bytes())
            live.process.send_signal(signal.SIGHUP)
            eventually(lambda: len(live.records("configuration reloaded")) == 1)
            assert ask(live, "good", provider="up").status_code == 200


# -- what is no provider --


def test_the_model_list_is_fetched_through_the_proxy(proxy: ForwardProxy, tmp_path: Path) -> None:
    host = ListHost([item("listed", "/openai")])
    with running_upstream(host.behave) as running:
        url = f"http://lists.test:{running.port}/models.json"
        address = f"http://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{proxy.port}"
        cache = {"MODEL_LIST_CACHE": str(tmp_path / "list.json")}
        with _configured(tmp_path, "", HTTP_PROXY=address, MODEL_LIST_URL=url, **cache) as live:
            eventually(lambda: bool(running.requests))
            assert PASSWORD not in live.log()
        with _configured(tmp_path, "", HTTP_PROXY=address, MODEL_LIST_URL=url, NO_PROXY="lists.test", **cache):
            pass
    asked = [each for each in proxy.asked if "lists.test" in each.target]
    assert {(each.method, each.target) for each in asked} == {("GET", url)}
    assert all(each.headers["proxy-authorization"] == _basic() for each in asked)


def test_a_proxy_that_is_none_stops_the_start_where_the_model_list_needs_it() -> None:
    refused = run_cli("serve", MODEL_LIST_URL="http://lists.test/models.json", HTTP_PROXY="socks5://secret-proxy:1")
    assert refused.returncode == 2
    assert "HTTP_PROXY: must look like" in refused.stderr
    assert "MODEL_LIST_URL" in refused.stderr
    assert "secret-proxy" not in refused.stderr
