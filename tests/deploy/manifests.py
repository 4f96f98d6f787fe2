"""The manifests of deploy/, as a cluster gets them: of kustomize's folders and of the Helm chart."""

import copy
import json
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUSTOMIZE = DEPLOY / "kubernetes"
CHART = DEPLOY / "helm" / "ai-gateway"
FOREIGN = {"ServiceMonitor"}
"""Kinds of the Prometheus Operator, which Kubernetes itself has no schema of."""

type Manifest = dict[str, Any]


def sources() -> list[tuple[str, Manifest]]:
    """Every whole manifest of kustomize's folders as it is written, without patches and what kustomize itself reads."""
    found = []
    for path in sorted(KUSTOMIZE.rglob("*.yaml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        is_resource = path.name in _resources(path.parent)
        if is_resource:
            found.append((path.relative_to(KUSTOMIZE).as_posix(), document))
    return found


def _resources(folder: Path) -> set[str]:
    kustomization = folder / "kustomization.yaml"
    return (
        set(yaml.safe_load(kustomization.read_text("utf-8")).get("resources", [])) if kustomization.exists() else set()
    )


@cache
def kubectl() -> str | None:
    """A kubectl that works and has kustomize, if this machine has one."""
    found = shutil.which("kubectl")
    if found is None or subprocess.run([found, "kustomize", "--help"], capture_output=True, check=False).returncode:
        return None
    return found


@cache
def built(overlay: str) -> tuple[Manifest, ...]:
    """What kubectl makes of an overlay; nothing where there is no kubectl."""
    program = kubectl()
    if program is None:
        return ()
    command = [program, "kustomize", str(KUSTOMIZE / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr  # it warns of what will not work in later versions
    return tuple(yaml.safe_load_all(done.stdout))


def values(changed: Mapping[str, Any]) -> dict[str, Any]:
    """The chart's values with some changed, as Helm merges them. Raises ValueError where its schema forbids it."""
    merged = _merged(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")), changed)
    validator = jsonschema_rs.validator_for(json.loads((CHART / "values.schema.json").read_text("utf-8")))
    if problems := [error.message for error in validator.iter_errors(merged)]:
        raise ValueError("; ".join(problems))
    return merged


def _merged(base: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(copy.deepcopy(base))
    for name, value in changed.items():
        both_tables = isinstance(value, Mapping) and isinstance(made.get(name), Mapping)
        made[name] = _merged(made[name], value) if both_tables else value
    return made


def rendered(changed: Mapping[str, Any], release: str = "blue") -> list[Manifest]:
    """What the chart makes of these values."""
    from gotpl.exts.helm import HelmTemplateEngine

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    data = {
        "Values": values(changed),
        "Chart": {"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]},
        "Release": {"Name": release, "Namespace": "models", "Service": "Helm", "IsInstall": True},
        "Capabilities": {"KubeVersion": {"Version": "v1.33.0"}},
    }
    templates = {path.name: path.read_text("utf-8") for path in sorted((CHART / "templates").iterdir())}
    engine = HelmTemplateEngine.from_sources(templates)
    found = []
    for name in templates:
        text = engine.render_template(name, data)
        if name.endswith(".yaml"):
            found += [document for document in yaml.safe_load_all(text) if document is not None]
        assert "<no value>" not in text, name
    return found
