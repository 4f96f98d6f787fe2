"""What a contract costs is paid where it is served: building the application imports no other contract's models."""

import subprocess
import sys

import pytest

from scripts.contract.build import sources
from tests.test_architecture import GENERATED, ROOT, imported, modules, shown

# The contracts whose doors are always open. Those of others are imported where their door is opened.
SERVED = {"gateway", "ollama", "openai"}
PROGRAM = """
import sys
import ai_gateway.app.build
print(*{name.split(".")[1] for name in sys.modules if name.startswith("gateway_contract.")})
"""


@pytest.mark.slow
def test_building_the_application_imports_the_contracts_that_are_always_served_and_no_other() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=True, cwd=ROOT
    )
    assert set(found.stdout.split()) == SERVED
    assert {source.name for source in sources(ROOT / "spec")} >= SERVED


def test_no_generated_package_imports_another() -> None:
    for path in modules(GENERATED):
        own = path.relative_to(GENERATED / "gateway_contract").parts[0]
        others = {name.split(".")[1] for name in imported(path) if name.startswith("gateway_contract.")}
        assert others <= {own}, shown(path)
