"""The unit of deploy/systemd: it starts, reloads and stops the gateway as it wants to be, and lets it do little."""

import configparser
import math
import shutil
import subprocess
from pathlib import Path

from ai_gateway.config.settings import Settings

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "ai-gateway.service"


class _Values(dict[str, object]):
    """A key may stand there twice, and then the values count together."""

    def __setitem__(self, key: str, value: object) -> None:
        if key in self and isinstance(value, list):
            value = [*self[key], *value]  # type: ignore[misc] # lists, as configparser keeps them while it reads
        super().__setitem__(key, value)


def _service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None, dict_type=_Values)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names are case-sensitive
    parser.read(UNIT)
    return parser["Service"]


def test_it_waits_for_as_long_as_the_gateway_may_take_to_stop() -> None:
    settings = Settings()
    needed = math.ceil(settings.grace_period_s + settings.drain_delay_s + 5)
    assert int(_service()["TimeoutStopSec"]) == needed


def test_it_is_locked_down() -> None:
    service = _service()
    for name in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictNamespaces"):
        assert service[name] == "yes", name
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""


def test_systemd_understands_it_and_finds_it_safe(tmp_path: Path) -> None:
    """Where there is a systemd; what it says of other machines is what the tests above say."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/ai-gateway/bin/ai-gateway", "/bin/true"), "utf-8")
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert verified.returncode == 0, verified.stderr
    assert unit.name not in verified.stderr
    judged = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=20", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-500:]
