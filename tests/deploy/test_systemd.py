"""The unit of deploy/systemd: it starts, reloads and stops the gateway as it wants to be, and lets it do little."""

import math
import re
import shutil
import subprocess
from pathlib import Path

from ai_gateway.config.settings import Settings

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "ai-gateway.service"


def _service() -> dict[str, str]:
    """What the unit says of the service; of what it says twice, the last."""
    section = UNIT.read_text("utf-8").partition("[Service]")[2].partition("[Install]")[0]
    return dict(re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE))


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
