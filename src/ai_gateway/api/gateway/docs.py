"""The served contract, and a page to read it without a network."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ai_gateway.api.access import Access
from ai_gateway.contract.as_yaml import as_yaml
from ai_gateway.contract.budget import Admission
from ai_gateway.contract.disconnect import ClientDisconnected
from ai_gateway.contract.header_fields import header_fields
from ai_gateway.contract.outcome import Outcome
from ai_gateway.contract.wire import OPENAI
from ai_gateway.contract.write import send_error, send_whole
from ai_gateway.errors import GatewayError

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {"content-security-policy": _POLICY, "cache-control": "no-store"}
# Seconds to read a page of 170 KB on a slow network. Slower readers only delay other readers of the page.
_MAX_READERS = 64
_ADMINISTRATORS: list[dict[str, list[str]]] = [{"AdminApiKeyAuth": []}]
_REFERENCE = re.compile(r"#/components/(\w+)/(\w+)")
_TERMS = (
    "The gateway is free software under the MIT licence, without warranty. A request goes on to the provider that it "
    "names or is routed to, so the terms of that provider hold for it, and those of its operator."
)
_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.4 ui-monospace,monospace}
pre{overflow:auto;padding:.75rem;border:1px solid #8884;border-radius:.4rem}
details{border-bottom:1px solid #8884;padding:.4rem 0}
summary{cursor:pointer}
.method{display:inline-block;min-width:4rem;font-weight:600}
"""


def served_contract(
    providers: list[str], *, keys_needed: bool, default_model: bool = False, administered: bool = False
) -> dict[str, Any]:
    """The generated contract, adapted to this deployment.

    It names the configured providers, requires a key and a model only if this gateway does, and has the operations of
    administrators if they are available (`administered`).
    """
    contract: dict[str, Any] = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))
    if not administered:
        _without_administration(contract)
    for item in contract["paths"].values():
        for operation in item.values():
            if operation["security"] == _ADMINISTRATORS:
                continue
            if operation["security"] and not keys_needed and {} not in operation["security"]:
                operation["security"] = [{}, *operation["security"]]
            _name_providers(operation, providers)
    if default_model:
        _free_the_model(contract)
    return contract


def administered_paths(contract: dict[str, Any]) -> list[str]:
    """The contract's paths for administrators only."""
    return [
        path
        for path, item in contract["paths"].items()
        if all(operation["security"] == _ADMINISTRATORS for operation in item.values())
    ]


def tagged_paths(contract: dict[str, Any], tag: str) -> list[str]:
    """The paths of a contract's operations with a tag."""
    return [
        path
        for path, item in contract["paths"].items()
        if any(tag in operation.get("tags", ()) for operation in item.values())
    ]


def _name_providers(operation: dict[str, Any], providers: list[str]) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and parameter["name"] == "provider":
            parameter["schema"] = {**parameter["schema"], "enum": sorted(providers)}


def _without_administration(contract: dict[str, Any]) -> None:
    """Remove operations of administrators, and components that nothing else refers to."""
    contract["paths"] = {
        path: item
        for path, item in contract["paths"].items()
        if any(operation["security"] != _ADMINISTRATORS for operation in item.values())
    }
    del contract["components"]["securitySchemes"]["AdminApiKeyAuth"]
    needed: set[tuple[str, str]] = set()
    left = _components_in(contract["paths"])
    while left:
        needed |= left
        found = (_components_in(contract["components"][kind][name]) for kind, name in left)
        left = set[tuple[str, str]]().union(*found) - needed
    for kind, named in contract["components"].items():
        if kind != "securitySchemes":
            contract["components"][kind] = {name: each for name, each in named.items() if (kind, name) in needed}


def _components_in(node: object) -> set[tuple[str, str]]:
    """Kind and name of every referenced component."""
    return set(_REFERENCE.findall(json.dumps(node)))


def _free_the_model(contract: dict[str, Any]) -> None:
    """Make `model` optional and nullable for paths without a provider."""
    schemas = contract["components"]["schemas"]
    for path, item in contract["paths"].items():
        for operation in item.values():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if name and "{provider}" not in path and "model" in schemas[name].get("required", ()):
                media["schema"] = {"$ref": f"#/components/schemas/{name}Routed"}
                schemas.setdefault(f"{name}Routed", _without_model(schemas[name]))


def _without_model(schema: dict[str, Any]) -> dict[str, Any]:
    model = {"anyOf": [schema["properties"]["model"], {"type": "null"}]}
    required = [field for field in schema["required"] if field != "model"]
    return {**schema, "properties": {**schema["properties"], "model": model}, "required": required}


def document(contract: dict[str, Any]) -> bytes:
    """The contract as served JSON."""
    return json.dumps(contract, ensure_ascii=False).encode()


@dataclass(slots=True)
class _Shown:
    """A contract and its renderings, cached until a reload."""

    contract: dict[str, Any]
    document: bytes
    page: bytes
    yaml: bytes = b""

    def as_yaml(self) -> bytes:
        """Rendered on first use."""
        self.yaml = self.yaml or as_yaml(self.contract).encode()
        return self.yaml


def docs_routes(contract: Callable[[], dict[str, Any]], guard: Access | None = None) -> list[Route]:
    """The routes of contract and docs page, behind the guard if there is one. A reload changes the contract.

    `/redoc` is the same page as `/docs`, for users who expect FastAPI's paths.
    """
    shown = _Shown({}, b"", b"")

    def current() -> _Shown:
        nonlocal shown
        now = contract()
        if shown.contract is not now:
            shown = _Shown(now, document(now), _page(now).encode())
        return shown

    readers = Admission(_MAX_READERS)
    openapi = _Document(lambda: (current().document, "application/json", {}), readers, guard)
    as_text = _Document(lambda: (current().as_yaml(), "application/yaml", {}), readers, guard)  # RFC 9512
    docs = _Document(lambda: (current().page, "text/html; charset=utf-8", _HEADERS), readers, guard)
    served = {"/openapi.json": openapi, "/openapi.yaml": as_text, "/docs": docs, "/redoc": docs}
    return [Route(path, endpoint, methods=["GET"]) for path, endpoint in served.items()]


class _Document:
    """A large document without a key: bounded in concurrent readers, and in time for each."""

    def __init__(
        self,
        current: Callable[[], tuple[bytes, str, Mapping[str, str]]],
        readers: Admission,
        guard: Access | None,
    ) -> None:
        self._current = current
        self._readers = readers
        self._guard = guard

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        outcome: Outcome = scope["outcome"]
        try:
            if self._guard is not None:
                self._guard.authorize(scope, header_fields(scope), "required")
            with self._readers:
                body, media, headers = self._current()
                await send_whole(send, 200, media.encode(), body, headers)
        except GatewayError as error:
            outcome.code = error.code
            await send_error(send, error.status, OPENAI.render(error), error.headers)
        except ClientDisconnected:
            outcome.left = True
            if (connection := scope.get("connection")) is not None:
                connection.abort()


def _page(contract: dict[str, Any]) -> str:
    info = contract["info"]
    operations = [
        _operation(path, method, operation)
        for path, item in contract["paths"].items()
        for method, operation in item.items()
    ]
    schemas = [_schema(name, schema) for name, schema in contract["components"]["schemas"].items()]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>"
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info.get('description', ''))}</p><p>As a document: <a href=/openapi.json>/openapi.json</a>, "
        f"<a href=/openapi.yaml>/openapi.yaml</a></p><h2 id=terms>Terms</h2><p>{_TERMS}</p>"
        f"<h2>Operations</h2>{''.join(operations)}<h2>Schemas</h2>{''.join(schemas)}</html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    examples = [
        f"<p>{escape(example['summary'])}</p><pre>{escape(json.dumps(example['value'], indent=2))}</pre>"
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for example in content.get("examples", {}).values()
    ]
    statuses = ", ".join(operation["responses"])
    return (
        f"<details id={escape(operation['operationId'])}><summary><span class=method>{method.upper()}</span>"
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p><p>Answers: {statuses}</p>{''.join(examples)}</details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    body = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return (
        f"<details id=schema-{escape(name)}><summary><code>{escape(name)}</code></summary><pre>{body}</pre></details>"
    )
