"""One operation as the code sees it: what its handler gets and returns, or why it cannot be served yet."""

import re
from dataclasses import dataclass, field
from keyword import iskeyword

from scripts.contract.documents import Json, ref_name, refs, resolve
from scripts.contract.request_parameters import DOOR_SUFFIX, parameter_model, parameters_of
from scripts.contract.rules import FORM

JSON = "application/json"
_EVENTS, _LINES, _TEXT = "text/event-stream", "application/x-ndjson", "text/plain"
_RESERVED_PARAMETERS = {"provider"}  # carried by Call
_TAKEN = {"self", "call", "query", "header", "body", "exchange", "handlers", "router", "models"}
# By whether an event says its name, and whether the last one is [DONE].
_FRAMINGS = {(False, True): "", (False, False): "SSE_OPEN", (True, True): "EVENTS_DONE", (True, False): "EVENTS"}


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
    """One operation as the template writes it.

    `query`, `header` and `body` are types that the handler gets, `read` is how the stub reads the body. `framing` is
    the form of a stream where it is not that of its wire.
    """

    function: str
    summary: str
    query: str | None
    header: str | None
    body: str | None
    read: str | None
    returns: str
    status: int
    framing: str
    security: str
    parameters: list[Parameter]
    routes: list[RouteRow] = field(default_factory=list)

    @property
    def signature(self) -> str:
        """The handler's parameters after `call`."""
        named = [f", {parameter.name}: str" for parameter in self.parameters]
        typed = (("query", self.query), ("header", self.header), ("body", self.body))
        return "".join(named) + "".join(f", {name}: {kind}" for name, kind in typed if kind)

    @property
    def arguments(self) -> str:
        """What the stub passes after `call`."""
        typed = (("query", self.query), ("header", self.header), ("body", self.body))
        return "".join(f", {parameter.name}" for parameter in self.parameters) + "".join(
            f", {name}" for name, kind in typed if kind
        )

    @property
    def form(self) -> str:
        """What the stub says about the reply's form, where it is not the usual one."""
        framing = f", {self.framing}" if self.framing else ""
        return framing + (f", status={self.status}" if self.status != 200 else "")


def stub(path: str, method: str, operation: Json, document: Json) -> Stub:
    """The stub of one operation. Raises SystemExit for what the seam cannot express."""
    operation_id = operation.get("operationId", "").removesuffix(DOOR_SUFFIX)
    if not snake(operation_id).isidentifier() or iskeyword(snake(operation_id)):
        raise SystemExit(
            f"{method} {path}: the operationId '{operation_id}' makes no function name; give it another in an overlay, "
            "or all of them by the rule `camel-case-operations`"
        )
    body, read = _body(operation, document, operation_id)
    status, contents = _success(operation, document, operation_id)
    models = {place: parameter_model(operation_id, place) for place in _places(operation, document, operation_id)}
    return Stub(
        function=snake(operation_id),
        summary=operation["summary"].rstrip("."),
        query=f"models.{models['query']}" if "query" in models else None,
        header=f"models.{models['header']}" if "header" in models else None,
        body=body,
        read=read,
        returns="NoReturn" if contents is None else _returns(contents, operation_id),
        status=status,
        framing=_framing(contents or {}, operation_id),
        security=_security(operation.get("security", document.get("security")), operation_id),
        parameters=_path_parameters(path, operation, document, operation_id),
        routes=[RouteRow(method.upper(), path, operation_id)],
    )


def snake(name: str) -> str:
    """`createSong` as Python writes it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _places(operation: Json, document: Json, operation_id: str) -> list[str]:
    """Where else than in the path the operation has parameters."""
    places = {parameter.get("in") for parameter in parameters_of(operation, document)} - {"path"}
    if strange := sorted(map(str, places - {"query", "header"})):
        raise SystemExit(f"{operation_id}: parameters in {', '.join(strange)} are not served; take them out by overlay")
    return [str(place) for place in places]


def _path_parameters(path: str, operation: Json, document: Json, operation_id: str) -> list[Parameter]:
    given = [each for each in parameters_of(operation, document) if each["in"] == "path"]
    in_path = re.findall(r"\{([^}]*)\}", path)
    if sorted(in_path) != sorted(parameter["name"] for parameter in given):
        raise SystemExit(f"{operation_id}: the parameters that '{path}' names are not those that it declares")
    for parameter in given:
        name, schema = parameter["name"], parameter.get("schema", {})
        if not name.isidentifier() or iskeyword(name) or name in _TAKEN:
            raise SystemExit(f"{operation_id}: '{name}' in the path makes no parameter's name; rename it in an overlay")
        if schema.get("type") != "string":
            raise SystemExit(f"{operation_id}: '{name}' in the path is served as text only; say so in an overlay")
    kept = [parameter for parameter in given if parameter["name"] not in _RESERVED_PARAMETERS]
    return [Parameter(parameter["name"], parameter["schema"].get("pattern")) for parameter in kept]


def body_schemas(operation: Json, document: Json) -> dict[str, str]:
    """The named schema of each body that has fields, by its media type: JSON, a form, or both."""
    contents = _contents(operation.get("requestBody", {}), document)
    return {
        media: ref_name(content["schema"]["$ref"])
        for media, content in contents.items()
        if media in {JSON, FORM} and "$ref" in content.get("schema", {})
    }


def _contents(holder: Json, document: Json) -> Json:
    found: Json = (resolve(document, holder["$ref"]) if "$ref" in holder else holder).get("content", {})
    return found


def _body(operation: Json, document: Json, operation_id: str) -> tuple[str | None, str | None]:
    """The type of the body that the handler gets, and the call that reads it."""
    if "requestBody" not in operation:
        return None, None
    given = operation["requestBody"]
    given = resolve(document, given["$ref"]) if "$ref" in given else given
    if not given.get("required"):
        raise SystemExit(f"{operation_id}: a body that may be left out is not served; say `required: true` by overlay")
    contents = given["content"]
    if contents and all(media not in {JSON, FORM} and _is_binary(content) for media, content in contents.items()):
        return "UploadedFile", f"upload({', '.join(repr(media) for media in contents)})"
    named = body_schemas(operation, document)
    if named.keys() != contents.keys() or not named:
        raise SystemExit(
            f"{operation_id}: a body is {JSON} or {FORM} with a named schema, or both, or else a file; "
            f"take out by overlay what is not ({', '.join(contents)})"
        )
    for name in named.values():
        if not _is_object(document["components"]["schemas"][name]):
            raise SystemExit(f"{operation_id}: the body's schema {name} describes no object; give it one by overlay")
    models = [f"models.{named[media]}" for media in (JSON, FORM) if media in named]
    reader = "body_or_form" if len(named) > 1 else "body" if JSON in named else "form"
    return " | ".join(dict.fromkeys(models)), f"{reader}({', '.join(models)})"


def _is_object(schema: Json) -> bool:
    return schema.get("type") == "object" and not {"oneOf", "anyOf"} & schema.keys()


def _is_binary(content: Json) -> bool:
    schema = content.get("schema", {})
    return "$ref" not in schema and schema.get("type", "string") == "string" and not {"oneOf", "anyOf"} & schema.keys()


def _success(operation: Json, document: Json, operation_id: str) -> tuple[int, Json | None]:
    """The status of a reply to a request that succeeds, and its contents; None for an operation that only refuses."""
    good = [status for status in operation["responses"] if status[0] not in "45"]
    if not good and operation["responses"]:
        return 200, None
    if len(good) != 1 or not re.fullmatch(r"20\d", good[0]):
        raise SystemExit(
            f"{operation_id}: an operation succeeds with one status of 200 to 209, or only refuses; "
            f"take out by overlay what is more ({', '.join(good) or 'it has none'})"
        )
    contents = _contents(operation["responses"][good[0]], document)
    if good[0] in {"204", "205"} and contents:
        raise SystemExit(f"{operation_id}: a reply with status {good[0]} has no content; take it out in an overlay")
    return int(good[0]), contents


def _returns(contents: Json, operation_id: str) -> str:
    """The handler's return type: models, a stream of models, text, a file of declared types, None for nothing."""
    if _EVENTS in contents and _LINES in contents:
        raise SystemExit(f"{operation_id}: one operation streams in one form only; take the other out in an overlay")
    files = [media for media, content in contents.items() if _is_file(media, content)]
    types = [_type(media, content, operation_id) for media, content in contents.items() if media not in files]
    if any("*" in media for media in files):
        types.append("Content[str]")
    elif files:
        types.append(f"Content[Literal[{', '.join(repr(media) for media in files)}]]")
    return " | ".join(types) or "None"


def _is_file(media: str, content: Json) -> bool:
    """Whether a reply is neither JSON, nor a stream of it, nor a plain text."""
    return media not in {JSON, _EVENTS, _LINES, _TEXT} and not media.endswith("+json") and _is_binary(content)


def _type(media: str, content: Json, operation_id: str) -> str:
    if media == _TEXT:
        return "str"
    schema = content.get("schema", {})
    if media in {_EVENTS, _LINES}:  # whose schema is an event or a list of lines, which hold what is streamed
        named = [ref for ref in refs(schema) if not ref.endswith("ErrorResponse")]
        if len(set(named)) == 1:
            return f"Stream[models.{ref_name(named[0])}]"
    branches = schema.get("oneOf", schema.get("anyOf", [schema]))
    if media == JSON and all("$ref" in branch for branch in branches):
        return " | ".join(f"Reply[models.{ref_name(branch['$ref'])}]" for branch in branches)
    raise SystemExit(f"{operation_id}: the {media} reply must name its schema; give it a name in an overlay")


def _framing(contents: Json, operation_id: str) -> str:
    """The name of a stream's framing, where it may not be its wire's: events with names, or without a last one."""
    event = contents.get(_EVENTS, {}).get("schema", {}).get("properties")
    if event is None:  # the schema of what is streamed, and not of an event
        return ""
    if "data" not in event:
        raise SystemExit(f"{operation_id}: an event has `data`, which says what is streamed; describe it in an overlay")
    branches = event["data"].get("anyOf", event["data"].get("oneOf", [event["data"]]))
    done = any(branch.get("const") == "[DONE]" or branch.get("enum") == ["[DONE]"] for branch in branches)
    return _FRAMINGS["event" in event, done]


def _security(security: list[Json] | None, operation_id: str) -> str:
    """An operation that says nothing of security is an error: nothing is open by accident."""
    if security is None:
        raise SystemExit(f"{operation_id} has no security: say who may call it, or say `security: []`")
    if not security:
        return "none"
    return "optional" if {} in security else "required"
