"""Route stubs: one for each operation, behind every door, with the security that the contract says."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import compile_path

from scripts.contract.build import corrected, sources
from scripts.contract.documents import Json, schema_ref
from scripts.contract.routes import generate_routes
from tests.scripts.contract.lantern import one_schema, spec_tree

BODY: Json = {"type": "object", "properties": {}}
NAMED: Json = {"content": {"application/json": {"schema": schema_ref("Body")}}}


@pytest.fixture(scope="module")
def lantern(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The routes of the Lantern API behind its two doors."""
    spec = spec_tree(tmp_path_factory.mktemp("routes"))
    document = corrected(spec, sources(spec)[0])
    return generate_routes("openai", document, "# Header.\n")


def one(path: str = "/things", *, method: str = "post", top: Json | None = None, **changes: Any) -> Json:
    document = one_schema(BODY)
    operation = document["paths"].pop("/things")["post"] | changes
    document["paths"][path] = {method: {key: value for key, value in operation.items() if value is not None}}
    return document | (top or {})


def routes(document: Json) -> str:
    source = generate_routes("one", document, "")
    ast.parse(source)
    return source


def functions(source: str) -> dict[str, ast.AsyncFunctionDef]:
    """The methods of the `Handlers` protocol by name."""
    handlers = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "Handlers")
    return {node.name: node for node in handlers.body if isinstance(node, ast.AsyncFunctionDef)}


def signature(node: ast.AsyncFunctionDef) -> str:
    assert node.returns is not None
    return f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"


def body(model: str) -> str:
    return f"(self, call: Call, body: models.{model})"


def test_every_operation_is_an_abstract_method_with_its_body_parameters_and_reply(lantern: str) -> None:
    found = functions(lantern)
    assert {name: signature(node) for name, node in found.items()} == {
        "create_verdict": f"{body('CreateVerdictRequest')} -> Reply[models.CreateVerdictResponse]",
        "create_song": f"{body('CreateSongRequest')} -> Reply[models.Song] | Stream[models.SongVerse]",
        "list_lamps": "(self, call: Call) -> Reply[models.LampList]",
        "retrieve_lamp": "(self, call: Call, lamp: str) -> Reply[models.Lamp]",
    }
    for node in found.values():
        assert [ast.unparse(decorator) for decorator in node.decorator_list] == ["abstractmethod"]
    assert ast.get_docstring(found["create_verdict"]) == "Create verdict."


def test_every_stub_is_served_behind_both_doors_under_one_name(lantern: str) -> None:
    assert re.findall(r'@router\.operation\(("[A-Z]+", "[^"]+", "\w+")', lantern) == [
        f'"{method}", "{door}{path}", "{name}"'
        for method, path, name in (
            ("POST", "/verdicts", "createVerdict"),
            ("POST", "/songs", "createSong"),
            ("GET", "/lamps", "listLamps"),
            ("GET", "/lamps/{lamp:path}", "retrieveLamp"),
        )
        for door in ("/{provider}/v1", "/v1")
    ]


def test_a_stub_authorises_before_it_reads_and_answers_last(lantern: str) -> None:
    stub = lantern[lantern.index("    async def create_verdict(exchange") :].split("\n\n", maxsplit=1)[0]
    assert [line.strip() for line in stub.splitlines()[1:]] == [
        "exchange.open()",
        "body = await exchange.body(models.CreateVerdictRequest)",
        "await exchange.answer(handlers.create_verdict(exchange.call, body))",
    ]


def test_the_header_comes_first_and_imports_are_what_is_used(lantern: str) -> None:
    assert lantern.startswith("# Header.\n")
    assert "from ai_gateway.contract.stream import Reply, Stream" in lantern
    bare = routes(one(requestBody=None))
    assert "Stream" not in bare
    assert "import models" not in bare


@pytest.mark.parametrize(
    ("own", "everybody", "written"),
    [
        (None, [{"Key": []}], '"createThing")'),
        ([{"Key": []}], [], '"createThing")'),
        ([], [{"Key": []}], '"createThing", "none")'),
        (None, [], '"createThing", "none")'),
        ([{}, {"Key": []}], None, '"createThing", "optional")'),
    ],
    ids=["from the document", "its own", "open though others are not", "open like all", "optional"],
)
def test_security_is_the_operations_own_or_else_the_documents(
    own: list[Json] | None, everybody: list[Json] | None, written: str
) -> None:
    assert written in routes(one(security=own, top={"security": everybody}))


def test_an_operation_that_does_not_say_who_may_call_fails_by_name() -> None:
    document = one()
    del document["security"]
    with pytest.raises(SystemExit, match="createThing has no security"):
        routes(document)


REPLIES: list[tuple[str, Json, str]] = [
    ("a model", NAMED, "Reply[models.Body]"),
    ("text", {"content": {"text/plain": {"schema": {"type": "string"}}}}, "str"),
    ("nothing", {}, "None"),
    ("model or text", {"content": {**NAMED["content"], "text/plain": {"schema": {}}}}, "Reply[models.Body] | str"),
    ("bare events", {"content": {"text/event-stream": {"schema": schema_ref("Body")}}}, "Stream[models.Body]"),
    ("events as they arrive", {"content": {"text/event-stream": {"schema": {"properties": {"data": {"anyOf": [
        {"contentSchema": schema_ref("Body")}, {"contentSchema": schema_ref("ErrorResponse")}, {"const": "[DONE]"},
    ]}}}}}}, "Stream[models.Body]"),
    ("lines", {"content": {"application/x-ndjson": {"schema": {"type": "array", "items": {"anyOf": [
        schema_ref("Body"), schema_ref("FooErrorResponse"),
    ]}}}}}, "Stream[models.Body]"),
    ("a shared reply", {"$ref": "#/components/responses/Done"}, "Reply[models.Body]"),
    ("one of several models", {"content": {"application/json": {"schema": {
        "oneOf": [schema_ref("Body"), schema_ref("Other")]
    }}}}, "Reply[models.Body] | Reply[models.Other]"),
    ("a file", {"content": {"audio/mpeg": {"schema": {"type": "string", "format": "binary"}}}},
     "Content[Literal['audio/mpeg']]"),
    ("a file of several types", {"content": {"audio/mpeg": {}, "audio/wav": {}, **NAMED["content"]}},
     "Reply[models.Body] | Content[Literal['audio/mpeg', 'audio/wav']]"),
    ("a file of a range of types", {"content": {"audio/*": {}}}, "Content[str]"),
    ("a text of another kind", {"content": {"text/plain": {}, "text/vtt": {"schema": {"type": "string"}}}},
     "str | Content[Literal['text/vtt']]"),
    ("a file or events", {"content": {"audio/mpeg": {}, "text/event-stream": {"schema": schema_ref("Body")}}},
     "Stream[models.Body] | Content[Literal['audio/mpeg']]"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "expected"), [row[1:] for row in REPLIES], ids=[row[0] for row in REPLIES])
def test_the_return_type_is_what_the_reply_says(reply: Json, expected: str) -> None:
    document = one(responses={"200": reply})
    document["components"]["responses"] = {"Done": NAMED}
    assert signature(functions(routes(document))["create_thing"]).endswith(f"-> {expected}")


@pytest.mark.parametrize(
    ("media", "schema"),
    [
        ("application/json", {"type": "object"}),
        ("application/json", {"type": "array", "items": schema_ref("Body")}),
        ("application/json", {"oneOf": [schema_ref("Body"), {"type": "string"}]}),
        ("application/problem+json", schema_ref("Body")),
        ("application/xml", schema_ref("Body")),
        ("text/event-stream", {"oneOf": [schema_ref("Body"), schema_ref("Other")]}),
    ],
    ids=["inline", "list of a model", "model or text", "other JSON", "a model in XML", "events of several kinds"],
)
def test_a_reply_that_names_no_schema_fails_by_name(media: str, schema: Json) -> None:
    complaint = re.escape(f"createThing: the {media} reply must name its schema; give it a name in an overlay")
    with pytest.raises(SystemExit, match=complaint):
        routes(one(responses={"200": {"content": {media: {"schema": schema}}}}))


def event(*, named: bool, done: bool) -> Json:
    """The schema of an event that carries a body."""
    data = [{"contentSchema": schema_ref("Body")}, *([{"const": "[DONE]"}] if done else [])]
    return {"properties": {**({"event": {"type": "string"}} if named else {}), "data": {"anyOf": data}}}


@pytest.mark.parametrize(
    ("named", "done", "said"),
    [(False, True, ")"), (False, False, ", SSE_OPEN)"), (True, False, ", EVENTS)"), (True, True, ", EVENTS_DONE)")],
)
def test_the_schema_of_an_event_says_whether_it_has_a_name_and_what_ends_the_stream(
    named: bool, done: bool, said: str
) -> None:
    content = {"text/event-stream": {"schema": event(named=named, done=done)}}
    source = routes(one(responses={"200": {"content": content}}))
    assert f"await exchange.answer(handlers.create_thing(exchange.call, body){said}\n" in source
    assert re.findall(r"framing import (\w+)", source) == list(filter(None, [said[2:-1]]))


def test_an_event_that_carries_nothing_fails_by_name() -> None:
    schema = {"properties": {"event": {"contentSchema": schema_ref("Body")}}}
    with pytest.raises(SystemExit, match="createThing: an event has `data`"):
        routes(one(responses={"200": {"content": {"text/event-stream": {"schema": schema}}}}))


def test_a_stream_of_lines_has_the_form_of_its_wire() -> None:
    for media in ("application/x-ndjson", "text/event-stream"):
        source = routes(one(responses={"200": {"content": {media: {"schema": schema_ref("Body")}}}}))
        assert "await exchange.answer(handlers.create_thing(exchange.call, body))\n" in source
        assert "framing" not in source


def test_an_operation_that_streams_in_two_forms_fails_by_name() -> None:
    both = {media: {"schema": schema_ref("Body")} for media in ("application/x-ndjson", "text/event-stream")}
    with pytest.raises(SystemExit, match="createThing: one operation streams in one form only"):
        routes(one(responses={"200": {"content": both}}))


def test_an_operation_that_only_refuses_never_returns() -> None:
    source = routes(one(responses={"401": NAMED, "501": NAMED}))
    assert signature(functions(source)["create_thing"]).endswith("-> NoReturn")
    assert "from typing import NoReturn, Protocol" in source


@pytest.mark.parametrize(("status", "said"), [("200", ")"), ("201", ", status=201)"), ("202", ", status=202)")])
def test_the_stub_says_which_status_success_has(status: str, said: str) -> None:
    source = routes(one(responses={status: NAMED, "404": NAMED}))
    assert f"await exchange.answer(handlers.create_thing(exchange.call, body){said}\n" in source


def test_a_reply_without_content_is_nothing() -> None:
    source = routes(one(responses={"204": {"description": "Gone."}}))
    assert signature(functions(source)["create_thing"]).endswith("-> None")
    assert "handlers.create_thing(exchange.call, body), status=204)" in source


@pytest.mark.parametrize(
    ("responses", "complaint"),
    [
        ({"200": NAMED, "201": NAMED}, r"createThing: an operation succeeds with one status .* \(200, 201\)"),
        ({"2XX": NAMED}, r"createThing: an operation succeeds with one status .* \(2XX\)"),
        ({"302": NAMED}, r"createThing: an operation succeeds with one status .* \(302\)"),
        ({}, r"createThing: an operation succeeds with one status .* \(it has none\)"),
        ({"204": NAMED}, "createThing: a reply with status 204 has no content; take it out"),
    ],
    ids=["two", "a range", "elsewhere", "none", "content where none is"],
)
def test_an_operation_that_does_not_succeed_in_one_way_fails_by_name(responses: Json, complaint: str) -> None:
    with pytest.raises(SystemExit, match=complaint):
        routes(one(responses=responses))


OTHER: Json = {"application/json": {"schema": schema_ref("Other")}}
FORM: Json = {"multipart/form-data": {"schema": schema_ref("Body")}}
BODIES: list[tuple[str, Json, str, str]] = [
    ("a form", FORM, "models.Body", "form(models.Body)"),
    ("a form or JSON", {**FORM, **OTHER}, "models.Other | models.Body", "body_or_form(models.Other, models.Body)"),
    ("either of the same", {**NAMED["content"], **FORM}, "models.Body", "body_or_form(models.Body, models.Body)"),
    ("a file", {"audio/wav": {"schema": {"type": "string", "format": "binary"}}, "audio/*": {}},
     "UploadedFile", "upload('audio/wav', 'audio/*')"),
]  # fmt: skip


@pytest.mark.parametrize(("contents", "kind", "read"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_is_read_in_the_forms_that_it_may_have(contents: Json, kind: str, read: str) -> None:
    document = one(requestBody={"required": True, "content": contents})
    document["components"]["schemas"]["Other"] = BODY
    source = routes(document)
    assert signature(functions(source)["create_thing"]) == f"(self, call: Call, body: {kind}) -> None"
    assert f"        body = await exchange.{read}\n" in source
    assert ("import UploadedFile" in source) == (kind == "UploadedFile")


def test_a_body_that_several_operations_share_is_read_as_their_own() -> None:
    document = one(requestBody={"$ref": "#/components/requestBodies/Thing"})
    document["components"]["requestBodies"] = {"Thing": {"required": True, **NAMED}}
    assert "body = await exchange.body(models.Body)" in routes(document)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
         r"createThing: a body is application/json or .* take out by overlay what is not \(application/json\)"),
        ({"required": True, "content": {**NAMED["content"], "audio/wav": {}}},
         r"createThing: a body is .* \(application/json, audio/wav\)"),
        ({"required": True, "content": {"application/xml": {"schema": schema_ref("Body")}}},
         r"createThing: a body is .* \(application/xml\)"),
        ({"required": True, "content": {}}, r"createThing: a body is .* \(\)"),
        (NAMED, "createThing: a body that may be left out is not served; say `required: true` by overlay"),
        ({"required": True, "content": OTHER}, "createThing: the body's schema Other describes no object"),
    ],
    ids=["inline", "JSON or a file", "XML", "nothing", "optional", "a list"],
)  # fmt: skip
def test_a_body_that_cannot_be_served_fails_by_name(body: Json, complaint: str) -> None:
    document = one(requestBody=body)
    document["components"]["schemas"]["Other"] = {"type": "array", "items": {"type": "string"}}
    with pytest.raises(SystemExit, match=complaint):
        routes(document)


def test_query_and_headers_reach_the_handler_as_models_of_their_own() -> None:
    document = one(
        "/lamps/{lamp}",
        parameters=[
            {"name": "X-Hue", "in": "header", "schema": {"type": "string"}},
            {"$ref": "#/components/parameters/Limit"},
            {"name": "lamp", "in": "path", "schema": {"type": "string"}},
        ],
    )
    document["components"]["parameters"] = {"Limit": {"name": "limit", "in": "query", "schema": {"type": "integer"}}}
    source = routes(document)
    assert signature(functions(source)["create_thing"]) == (
        "(self, call: Call, lamp: str, query: models.CreateThingQuery, header: models.CreateThingHeaders, "
        "body: models.Body) -> None"
    )
    stub = source[source.index("async def create_thing(exchange") :]
    assert [line.strip() for line in stub.splitlines()[1:6]] == [
        "exchange.open()",
        'lamp = exchange.path("lamp")',
        "query = exchange.query(models.CreateThingQuery)",
        "header = exchange.header(models.CreateThingHeaders)",
        "body = await exchange.body(models.Body)",
    ]


@pytest.mark.parametrize(
    ("path", "parameter", "complaint"),
    [
        ("/things", {"name": "limit", "in": "cookie", "schema": {}}, "parameters in cookie are not served"),
        (
            "/t/{n}",
            {"name": "n", "in": "path", "schema": {"type": "integer"}},
            "'n' in the path is served as text only",
        ),
        ("/t/{n}", {"name": "m", "in": "path", "schema": {"type": "string"}}, "the parameters that '/t/{n}' names are"),
        ("/t/{b-c}", {"name": "b-c", "in": "path", "schema": {"type": "string"}}, "'b-c' in the path makes no"),
        ("/t/{body}", {"name": "body", "in": "path", "schema": {"type": "string"}}, "'body' in the path makes no"),
    ],
    ids=["cookie", "number in the path", "undeclared", "no name", "taken name"],
)
def test_a_parameter_that_cannot_be_served_fails_by_name(path: str, parameter: Json, complaint: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(f"createThing: {complaint}")):
        routes(one(path, parameters=[parameter]))


@pytest.mark.parametrize("others", [[], ["/lamps/newest"], ["/lamps/{lamp}/parts"], ["/lamps/{lamp}/parts/{part}"]])
def test_every_path_is_reached_whichever_comes_first(others: list[str]) -> None:
    text = {"in": "path", "schema": {"type": "string"}}
    paths: Json = {}
    for number, path in enumerate(["/lamps/{lamp}", *others]):
        named = [{**text, "name": name} for name in re.findall(r"{(\w+)}", path)]
        document = one(path, method="get", requestBody=None, operationId=f"get{number}", parameters=named)
        paths |= document["paths"]
    served = re.findall(r'"GET", "([^"]+)"', routes({**one(), "paths": paths}))
    assert len(served) == len(paths)
    for wanted in paths:
        example = wanted.replace("{lamp}", "l").replace("{part}", "p/q")
        found = next(path for path in served if compile_path(path)[0].fullmatch(example))
        assert found.replace(":path", "") == wanted


def test_the_provider_is_carried_by_the_call_and_other_parameters_by_name() -> None:
    parameters = [
        {"name": "provider", "in": "path", "schema": {"type": "string"}},
        {"name": "lamp", "in": "path", "schema": {"type": "string", "pattern": "^[a-z]+$"}},
    ]
    source = routes(one("/{provider}/lamps/{lamp}", method="get", requestBody=None, parameters=parameters))
    assert signature(functions(source)["create_thing"]) == "(self, call: Call, lamp: str) -> None"
    assert 'lamp = exchange.path("lamp", r"^[a-z]+$")' in source
    assert '"/{provider}/lamps/{lamp:path}"' in source


@pytest.mark.parametrize("pattern", [r"^[^\x00]+$", r'^"[a-z]\d"$', r"^it's$", r"""^["']$"""])
def test_a_pattern_arrives_as_it_was_written(pattern: str) -> None:
    parameter = {"name": "lamp", "in": "path", "schema": {"type": "string", "pattern": pattern}}
    source = routes(one("/lamps/{lamp}", parameters=[parameter]))
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and len(node.args) == 2]
    written = [ast.literal_eval(node.args[1]) for node in calls if ast.unparse(node.func) == "exchange.path"]
    assert written == [pattern]


@pytest.mark.parametrize("name", ["", "create-thing", "import", "1st", "x(): pass\n#"])
def test_an_operation_id_that_makes_no_function_name_fails_by_name(name: str) -> None:
    with pytest.raises(SystemExit, match=r"(?s)post /things: the operationId '.*' makes no function name"):
        routes(one(operationId=name))


def test_two_different_operations_of_one_name_fail_by_name() -> None:
    document = one()
    document["paths"]["/others"] = {"post": {**document["paths"]["/things"]["post"], "requestBody": None}}
    del document["paths"]["/others"]["post"]["requestBody"]
    with pytest.raises(SystemExit, match="createThing: another operation has this name"):
        routes(document)


@pytest.mark.slow
def test_what_is_generated_for_the_real_contract_is_what_the_template_writes_today() -> None:
    root = Path(__file__).resolve().parents[3]
    for source in sources(root / "spec"):
        committed = (root / "generated" / "gateway_contract" / source.name / "routes.py").read_text(encoding="utf-8")
        assert functions(committed).keys() == functions(routes(corrected(root / "spec", source))).keys()
