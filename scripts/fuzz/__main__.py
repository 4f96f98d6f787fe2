"""`python -m scripts.fuzz --examples N`: start the gateway, fuzz it, and end with schemathesis' exit code."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.support.gateway import running_gateway

ROOT = Path(__file__).resolve().parents[2]
KEY = "fuzz-key"
PROFILE = ROOT / "scripts" / "fuzz" / "profile.toml"
ADMIN_KEY = "fuzz-administrators-key"
SETTINGS = {"ALLOWED_API_KEYS": KEY, "ADMIN_API_KEY": ADMIN_KEY, "STORE_URL": "memory", "LOG_LEVEL": "warning"}
PARTS = {
    "inference": ("--exclude-path-regex", "^/v1/(organization|gateway)/|/v1/responses|/v1/messages"),
    "responses": ("--include-path-regex", "/v1/responses"),
    "messages": ("--include-path-regex", "/v1/messages"),
    "administration": ("--include-path-regex", "^/v1/(organization|gateway)/"),
}
"""Each against a gateway of its own: administration sets limits, and those would hold for all other requests."""


def fuzz(
    base_url: str, examples: int, *options: str, quiet: bool = False, profile: Path = PROFILE, coverage_one_of: int = 1
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against a gateway with SETTINGS. `quiet` captures its output.

    Of the requests of its phase Coverage, one of so many is sent.
    """
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(profile),
        "run",
        f"{base_url}/openapi.json",
    ]
    environment = {
        **os.environ,
        "FUZZ_KEY": KEY,
        "FUZZ_ADMIN_KEY": ADMIN_KEY,
        "FUZZ_COVERAGE_ONE_OF": str(coverage_one_of),
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
    }
    return subprocess.run(
        [*command, "--max-examples", str(examples), *options],
        cwd=ROOT,
        env=environment,
        text=True,
        check=False,
        stdout=subprocess.PIPE if quiet else None,
    )


def main() -> int:
    """Fuzz fresh gateways with the built-in provider."""
    parser = argparse.ArgumentParser(prog="python -m scripts.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="examples for each operation (default: 1000)")
    chosen, options = parser.parse_known_args()
    worst = 0
    for part in PARTS.values():
        with running_gateway(**SETTINGS) as gateway:
            worst = max(worst, fuzz(gateway.base_url, chosen.examples, *part, *options).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
