"""Which proxy an upstream is reached through: as the usual variables say, and as nobody would want it never."""

import pytest

from ai_gateway.providers.config.network import proxy_variable, read_proxy

BOTH = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "http://secure:2"}


@pytest.mark.parametrize(
    ("url", "env", "expected"),
    [
        ("https://api.example.com/v1", BOTH, "HTTPS_PROXY"),
        ("http://api.example.com/v1", BOTH, "HTTP_PROXY"),
        ("https://api.example.com/v1", {"HTTP_PROXY": "http://plain:1"}, None),
        ("https://api.example.com/v1", {"ALL_PROXY": "http://all:1"}, "ALL_PROXY"),
        ("https://api.example.com/v1", {**BOTH, "https_proxy": "http://lower:1"}, "https_proxy"),
        ("http://localhost:11434", BOTH, None),
        ("http://127.0.0.1:11434", BOTH, None),
        ("http://[::1]:11434/v1", BOTH, None),
        ("", BOTH, None),
        ("http://[broken/v1", BOTH, None),
    ],
)
def test_the_scheme_and_the_host_decide(url: str, env: dict[str, str], expected: str | None) -> None:
    assert proxy_variable(url, env) == expected


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://api.example.com", True),
        ("example.com", "https://api.example.com", True),
        (".example.com", "https://api.example.com", True),
        ("*.example.com", "https://api.example.com", True),
        ("EXAMPLE.com", "https://api.example.com", True),
        ("example.com", "https://notexample.com", False),
        ("other.org, api.example.com", "https://api.example.com", True),
        ("api.example.com:443", "https://api.example.com", True),
        ("api.example.com:8443", "https://api.example.com", False),
        ("api.example.com:8443", "https://api.example.com:8443", True),
        ("10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("10.1.2.3", "http://10.1.2.3:8000", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.0.0.0/8", "http://ten.example.com", False),
        ("fd00::/8", "http://[fd12::1]:8000", True),
        ("[fd12::1]:8000", "http://[fd12::1]:8000", True),
        ("[fd12::1]:8001", "http://[fd12::1]:8000", False),
        ("fd12::1", "http://[fd12::1]:8000", True),
        (".", "https://api.example.com", False),
        (",, ,", "https://api.example.com", False),
        ("not/a/network", "http://10.1.2.3", False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(no_proxy: str, url: str, *, direct: bool) -> None:
    assert (proxy_variable(url, {**BOTH, "no_proxy": no_proxy}) is None) is direct
    assert (proxy_variable(url, {**BOTH, "NO_PROXY": no_proxy}) is None) is direct


@pytest.mark.parametrize(
    ("text", "host", "port", "credentials"),
    [
        ("http://proxy:3128", "proxy", 3128, None),
        ("proxy", "proxy", 3128, None),
        ("proxy:8080", "proxy", 8080, None),
        ("http://user:p%40ss@proxy:8080/", "proxy", 8080, "user:p@ss"),
        ("http://[fd00::1]:8080", "fd00::1", 8080, None),
    ],
)
def test_a_proxy_is_written_as_people_write_it(text: str, host: str, port: int, credentials: str | None) -> None:
    proxy = read_proxy(text)
    assert (proxy.host, proxy.port) == (host, port)
    assert (proxy.credentials.get_secret_value() if proxy.credentials else None) == credentials


@pytest.mark.parametrize(
    "text",
    ["https://proxy", "socks5://proxy:1080", "http://", "http://proxy:99999", "http://proxy/path", "http://u:%0a@p"],
)
def test_what_is_no_proxy_of_ours_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"must look like|holds characters") as refused:
        read_proxy(text)
    assert "proxy/path" not in str(refused.value)
