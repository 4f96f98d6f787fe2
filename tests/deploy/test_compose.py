"""deploy/compose.yaml: valid, locked down, in order, and made of files that are there and can be read."""

import math
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai_gateway.config.fields import SECRET
from ai_gateway.config.settings import Settings, marked
from ai_gateway.config.sources import read_settings, read_sources
from tests.support.schemas_of_tools import violations

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"setup", "migrate"}


def test_it_is_a_compose_file_with_all_that_a_gateway_can_use() -> None:
    assert violations("compose-spec", COMPOSE) == []
    expected = {"setup", "postgres", "valkey", "migrate", "gateway", "nginx", "prometheus", "grafana"}
    assert set(SERVICES) == expected


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_is_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, target, *options = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert options == ["ro"], mount
        else:
            assert source in COMPOSE["volumes"], mount


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_after_what_it_needs_and_when_that_is_well(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert wait["condition"] == expected, (name, other)
        in_the_image = other == "gateway"
        assert other in ONCE or in_the_image or "test" in SERVICES[other]["healthcheck"], other


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_little(name: str) -> None:
    service = SERVICES[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"]), "an image without a version"
    if name != "postgres":  # its entry point changes owners and users
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert service.get("restart", "no") == ("no" if name in ONCE else "unless-stopped")


def test_only_nginx_and_grafana_can_be_reached_and_from_this_machine_unless_somebody_says_otherwise() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "nginx": ["${BIND:-127.0.0.1}:${HTTPS_PORT:-8443}:443"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    assert COMPOSE["networks"]["data"] == {"internal": True}
    for store in ("postgres", "valkey"):
        assert SERVICES[store]["networks"] == ["data"]


def test_no_secret_stands_in_a_variable() -> None:
    secrets = {name.upper() for name in marked(SECRET)}
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            assert variable not in secrets
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), variable
            if variable.endswith("_FILE"):
                assert value.startswith("/run/gateway/")


def test_the_gateway_has_the_time_that_it_takes_to_stop() -> None:
    gateway = SERVICES["gateway"]
    grace, drain = (float(gateway["environment"][name]) for name in ("GRACE_PERIOD_S", "DRAIN_DELAY_S"))
    defaults = Settings()
    assert (grace, drain) == (defaults.grace_period_s, defaults.drain_delay_s)
    assert gateway["stop_grace_period"] == f"{math.ceil(grace + drain + 5)}s"


# --- the credentials that the first service makes --------------------------------------------------------------------


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What setup.sh makes, after a second start of the whole."""
    place = tmp_path_factory.mktemp("credentials")
    place.chmod(0o755)
    for _ in range(2):
        _set_up(place)
    return place


def _set_up(place: Path) -> dict[str, bytes]:
    assert shutil.which("openssl"), "openssl is not installed: certificates are made with it"
    command = ["sh", str(DEPLOY / "compose" / "setup.sh"), str(place)]
    subprocess.run(command, check=True, capture_output=True, timeout=60, env={"PATH": os.environ["PATH"]})
    return {path.name: path.read_bytes() for path in place.iterdir()}


def test_another_start_changes_no_credential(credentials: Path) -> None:
    before = {path.name: path.read_bytes() for path in credentials.iterdir()}
    assert _set_up(credentials) == before
    assert len({before[name] for name in ("postgres-password", "valkey-password", "api-key", "admin-key")}) == 4


def test_nobody_but_its_owner_reads_the_key_of_the_certificate(credentials: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in credentials.iterdir()}
    assert modes.pop("tls.key") == 0o400
    assert set(modes.values()) == {0o444}


def test_every_file_that_a_service_names_is_made(credentials: Path) -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8") + (DEPLOY / "nginx" / "nginx.conf").read_text("utf-8")
    named = set(re.findall(r"/run/gateway/([\w-]+(?:\.\w+)?)", text))
    assert named
    assert named <= {path.name for path in credentials.iterdir()}


def test_the_gateway_reads_them(credentials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in SERVICES["gateway"]["environment"].items():
        monkeypatch.setenv(variable, str(value).replace("/run/gateway", str(credentials)))
    settings = read_settings(read_sources())
    password = (credentials / "postgres-password").read_text("ascii")
    assert settings.store_url is not None
    assert settings.store_url.get_secret_value() == f"postgresql://gateway:{password}@postgres/gateway"
    assert settings.valkey_url is not None
    assert (credentials / "valkey-password").read_text("ascii") in settings.valkey_url.get_secret_value()
    assert [key.get_secret_value() for key in settings.allowed_api_keys] == [(credentials / "api-key").read_text()]


# --- what Prometheus and Grafana read --------------------------------------------------------------------------------


def test_prometheus_and_grafana_find_each_other_and_the_gateway() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    (job,) = prometheus["scrape_configs"]
    assert job["dns_sd_configs"][0]["names"] == ["gateway"]
    assert job["dns_sd_configs"][0]["port"] == Settings().service_port
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text("utf-8"))[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/gateway.yaml").read_text("utf-8"))[
        "providers"
    ]
    assert f"./grafana:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
