"""Generate the route stubs and the `Handlers` protocol of one document."""

import re
from dataclasses import dataclass, field, replace
from keyword import iskeyword
from pathlib import Path

import jinja2

from scripts.contract.documents import Json, operations, ref_name, refs, resolve

_TEMPLATES = Path(__file__).parent / "templates"
DOOR_SUFFIX = "Routed"
_EVENTS, _LINES = "text/event-stream", "application/x-ndjson"
_RESERVED_PARAMETERS = {"provider"}  # carried by Call


@dataclass(frozen=True)
class Parameter:
    """A path parameter that the handler receives."""

    name: str
    pattern: str | None

    @property
    def literal(self) -> str:
        """The pattern as Python writes it."""
        return f'r"{self.pattern}"' if '"' not in str(self.pattern) else repr(self.pattern)


@dataclass(frozen=True)
class RouteRow:
    """One path at which an operation is served."""

    method: str
    path: str
    operation: str


@dataclass(frozen=True)
class Stub:
    """One operation as the template writes it."""

    function: str
    summary: str
    body: str | None
    returns: str
    security: str
    parameters: list[Parameter]
    routes: list[RouteRow] = field(default_factory=list)

    @property
    def signature(self) -> str:
        """The handler's parameters after `call`."""
        named = [f", {parameter.name}: str" for parameter in self.parameters]
        return "".join(named) + (f", body: models.{self.body}" if self.body else "")

    @property
    def arguments(self) -> str:
        """What the stub passes after `call`."""
        return "".join(f", {parameter.name}" for parameter in self.parameters) + (", body" if self.body else "")


def generate_routes(name: str, document: Json, header: str) -> str:
    """Python source of one module. Raises SystemExit for an operation that the seam cannot express."""
    stubs: dict[str, Stub] = {}
    for path, method, operation in operations(document):
        stub = _stub(path, method, operation, document)
        known = stubs.setdefault(stub.function, stub)
        if known is not stub:  # the same operation behind another door
            if replace(known, routes=[]) != replace(stub, routes=[]):
                raise SystemExit(f"{operation['operationId']}: another operation has this name, and is not the same")
            known.routes.extend(stub.routes)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is Python, not HTML
    )
    return header + environment.get_template("routes.py.j2").render(
        name=name,
        stubs=list(stubs.values()),
        uses_no_return=any(stub.returns == "NoReturn" for stub in stubs.values()),
        uses_stream=any("Stream[" in stub.returns for stub in stubs.values()),
        uses_models=any("models." in stub.returns + stub.signature for stub in stubs.values()),
    )


def _stub(path: str, method: str, operation: Json, document: Json) -> Stub:
    operation_id = operation.get("operationId", "").removesuffix(DOOR_SUFFIX)
    if not _snake(operation_id).isidentifier() or iskeyword(_snake(operation_id)):
        raise SystemExit(f"{method} {path}: the operationId '{operation_id}' makes no function name")
    parameters = [_parameter(p, operation_id) for p in operation.get("parameters", [])]
    served = re.sub(r"\{(\w+)\}$", r"{\1:path}", path)
    return Stub(
        function=_snake(operation_id),
        summary=operation["summary"].rstrip("."),
        body=_body(operation, operation_id),
        returns=_returns(operation, document, operation_id),
        security=_security(operation.get("security", document.get("security")), operation_id),
        parameters=[parameter for parameter in parameters if parameter.name not in _RESERVED_PARAMETERS],
        routes=[RouteRow(method.upper(), served, operation_id)],
    )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _parameter(parameter: Json, operation_id: str) -> Parameter:
    if parameter.get("in") != "path" or parameter["schema"].get("type") != "string":
        raise SystemExit(f"{operation_id}: only text parameters in the path can be served so far")
    return Parameter(parameter["name"], parameter["schema"].get("pattern"))


def _body(operation: Json, operation_id: str) -> str | None:
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"].get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" not in schema:
        raise SystemExit(f"{operation_id}: only JSON bodies with a named schema can be served so far")
    return ref_name(schema["$ref"])


def _reply(operation: Json, document: Json) -> Json:
    """The reply to a request that succeeds; empty for an operation that only ever refuses."""
    reply: Json = operation["responses"].get("200", {})
    return resolve(document, reply["$ref"]) if "$ref" in reply else reply


def _returns(operation: Json, document: Json, operation_id: str) -> str:
    """The handler's return type: a model, a stream of models, text, None for an empty reply, NoReturn for none."""
    if "200" not in operation["responses"]:
        if all(status[0] in "45" for status in operation["responses"]):
            return "NoReturn"
        raise SystemExit(f"{operation_id}: only operations that answer 200, or only refuse, can be served so far")
    contents = _reply(operation, document).get("content", {})
    if _EVENTS in contents and _LINES in contents:
        raise SystemExit(f"{operation_id}: one operation streams in one form only")
    types = [_type(media, content, operation_id) for media, content in contents.items()]
    return " | ".join(types) or "None"


def _type(media: str, content: Json, operation_id: str) -> str:
    stream = media in {_EVENTS, _LINES}  # whose schema is an event or a list of lines, which hold what is streamed
    named = refs(content["schema"]) if stream else [content["schema"].get("$ref", "")]
    names = [ref_name(ref) for ref in named if ref and not ref.endswith("ErrorResponse")]
    if media == "text/plain":
        return "str"
    if len(names) != 1:
        raise SystemExit(f"{operation_id}: the {media} reply must name one schema")
    return f"{'Stream' if stream else 'Reply'}[models.{names[0]}]"


def _security(security: list[Json] | None, operation_id: str) -> str:
    """An operation that says nothing of security is an error: nothing is open by accident."""
    if security is None:
        raise SystemExit(f"{operation_id} has no security: say who may call it, or say `security: []`")
    if not security:
        return "none"
    return "optional" if {} in security else "required"
