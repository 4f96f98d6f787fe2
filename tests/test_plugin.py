"""What other packages may import: one namespace, complete and sorted; and the paths of the release before it."""

import json
import subprocess
import sys

import pytest

from ai_gateway import plugin
from ai_gateway.providers.config.moved import MOVED


def test_the_public_face_is_what_it_says() -> None:
    public = [name for name in vars(plugin) if not name.startswith("_")]
    assert sorted(public) == sorted(plugin.__all__)
    # Constants, then classes, then functions, as ruff sorts them (RUF022).
    assert sorted(plugin.__all__, key=lambda name: (not name.isupper(), name)) == plugin.__all__


def test_everything_that_a_plugin_has_to_name_is_public() -> None:
    for name in ("Provider", "ProviderRow", "Quirks", "Upstream", "Call", "OpenAICompatible", "SAME_WIRE"):
        assert name in plugin.__all__
    raised = {name for name in plugin.__all__ if name.startswith("Upstream") and name != "Upstream"}
    assert "UpstreamError" in raised
    for name in raised:
        assert issubclass(getattr(plugin, name), plugin.UpstreamError)


SERVED = """
import importlib, json, sys, warnings
from ai_gateway.providers.config.moved import MOVED, serve_moved_modules
serve_moved_modules()
found = {}
for path in MOVED:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        old = importlib.import_module(path)
    new = importlib.import_module(MOVED[path])
    names = [name for name in vars(new) if not name.startswith("__")]
    same = bool(names) and all(getattr(old, name) is getattr(new, name) for name in names)
    found[path] = [same, new.__spec__.name, [str(each.message) for each in told]]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def served() -> dict[str, tuple[bool, str, list[str]]]:
    """What each old path leads to, in a process that has loaded plugins: this one must not."""
    done = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[bool, str, list[str]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_import_path_still_leads_to_the_same_names(
    served: dict[str, tuple[bool, str, list[str]]], old: str
) -> None:
    same, name, reported = served[old]
    assert same
    assert name == MOVED[old]
    assert any("import from ai_gateway.plugin" in message for message in reported)


def test_old_import_paths_are_not_served_to_everybody() -> None:
    program = "import ai_gateway.plugin, ai_gateway.providers.quirks"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "No module named 'ai_gateway.providers.quirks'" in done.stderr
