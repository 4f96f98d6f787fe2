"""The invented Lantern API, and a small `spec/` made of it: what the tests of the pipeline work on."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import yaml

from scripts.contract.documents import Json, read
from scripts.contract.extract import extract
from scripts.contract.normalize import normalize

DOCUMENT = Path(__file__).parent / "data" / "lantern.yaml"
SELECTED = ("post /verdicts", "post /songs", "get /lamps", "get /lamps/{lamp}")

SOURCE = """\
# A comment that stays.
[source]
repository = "lantern/lantern"
document = "lantern.yaml"
version = "0"
openapi = "3.1.0"
licence = "MIT"
commit = "0123abc"
date = "2024-05-01"
sha256 = "0000"

[select]
operations = [
  "post /verdicts",
  "post /songs",
  "get /lamps",
  "get /lamps/{lamp}",
]
"""
OVERLAY: Json = {
    "overlay": "1.0.0",
    "info": {"title": "Who may call", "version": "1.0.0"},
    "extends": "../openai/facts.yaml",
    "actions": [
        {"target": "$", "x-why": "A key is needed.", "update": {"security": [{"LampKey": []}]}},
        {
            "target": "$.components",
            "x-why": "A key is needed.",
            "update": {"securitySchemes": {"LampKey": {"type": "http", "scheme": "bearer"}}},
        },
    ],
}
RULES: Json = {
    "rules": [
        {"rule": "drop-formats", "to": ["openai"], "formats": ["date"], "why": "Dates are texts."},
        {"rule": "nullable-optional-request-fields", "to": ["openai"], "why": "Clients send null."},
        {
            "rule": "doors",
            "to": ["openai"],
            "why": "Two ways in.",
            "doors": [
                {
                    "prefix": "/{provider}/v1",
                    "parameters": [{"name": "provider", "in": "path", "required": True, "schema": {"type": "string"}}],
                },
                {"prefix": "/v1", "suffix": "Routed"},
            ],
        },
    ]
}
GATEWAY: Json = {
    "openapi": "3.1.0",
    "info": {"title": "Own", "version": "1"},
    "paths": {
        "/alive": {
            "get": {
                "operationId": "getAlive",
                "summary": "Whether anything answers",
                "security": [],
                "responses": {
                    "200": {
                        "description": "Yes.",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Alive"}}},
                    }
                },
            }
        }
    },
    "components": {
        "schemas": {"Alive": {"type": "object", "required": ["alive"], "properties": {"alive": {"type": "boolean"}}}}
    },
}


def official() -> Json:
    """The document as its makers publish it."""
    return read(DOCUMENT)


def facts(change: Callable[[Json], None] = lambda _: None) -> Json:
    """What is vendored of the document, once `change` has been made to the original."""
    document = official()
    change(document)
    return normalize(extract(document, SELECTED))


def write(path: Path, document: Json) -> Path:
    """The document as YAML at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(deepcopy(document), sort_keys=False), encoding="utf-8")
    return path


def spec_tree(root: Path) -> Path:
    """A whole small `spec/` below `root`; `root` is what `--root` takes."""
    spec = root / "spec"
    write(spec / "openai" / "facts.yaml", facts())
    (spec / "openai" / "source.toml").write_text(SOURCE, encoding="utf-8")
    write(spec / "gateway.yaml", GATEWAY)
    write(spec / "info.yaml", {"title": "Lantern gateway", "version": "1"})
    write(spec / "overlay" / "access.yaml", OVERLAY)
    write(spec / "overlay" / "rules.yaml", RULES)
    return spec


def one_schema(schema: Json, **others: Json) -> Json:
    """A document whose one operation takes `Body`, with further schemas beside it."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "One", "version": "1"},
        "security": [],
        "paths": {
            "/things": {
                "post": {
                    "operationId": "createThing",
                    "summary": "Make a thing",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}},
                    },
                    "responses": {"200": {"description": "Made."}},
                }
            }
        },
        "components": {"schemas": {"Body": schema, **others}},
    }
