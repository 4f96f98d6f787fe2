"""Route stubs: one for each operation, behind every door, with the security that the contract says."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

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
]  # fmt: skip


@pytest.mark.parametrize(("reply", "expected"), [row[1:] for row in REPLIES], ids=[row[0] for row in REPLIES])
def test_the_return_type_is_what_the_reply_says(reply: Json, expected: str) -> None:
    document = one(responses={"200": reply})
    document["components"]["responses"] = {"Done": NAMED}
    assert signature(functions(routes(document))["create_thing"]).endswith(f"-> {expected}")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "array", "items": schema_ref("Body")},
        {"oneOf": [schema_ref("Body"), schema_ref("Other")]},
    ],
    ids=["inline", "list of a model", "several"],
)
def test_a_reply_that_names_no_single_schema_fails_by_name(schema: Json) -> None:
    with pytest.raises(SystemExit, match="createThing: the application/json reply must name one schema"):
        routes(one(responses={"200": {"content": {"application/json": {"schema": schema}}}}))


@pytest.mark.parametrize("media", ["audio/mpeg", "application/octet-stream"])
def test_a_reply_of_bytes_fails_by_name(media: str) -> None:
    with pytest.raises(SystemExit, match=f"createThing: the {media} reply must name one schema"):
        routes(one(responses={"200": {"content": {media: {"schema": {"type": "string"}}}}}))


def test_an_operation_that_streams_in_two_forms_fails_by_name() -> None:
    both = {media: {"schema": schema_ref("Body")} for media in ("application/x-ndjson", "text/event-stream")}
    with pytest.raises(SystemExit, match="createThing: one operation streams in one form only"):
        routes(one(responses={"200": {"content": both}}))


def test_an_operation_that_only_refuses_never_returns() -> None:
    source = routes(one(responses={"401": NAMED, "501": NAMED}))
    assert signature(functions(source)["create_thing"]).endswith("-> NoReturn")
    assert "from typing import NoReturn, Protocol" in source


def test_an_operation_that_never_answers_200_fails_by_name() -> None:
    with pytest.raises(SystemExit, match="createThing: only operations that answer 200"):
        routes(one(responses={"201": NAMED}))


@pytest.mark.parametrize(
    "body",
    [
        {"content": {"application/json": {"schema": {"type": "object"}}}},
        {"content": {"multipart/form-data": {"schema": schema_ref("Body")}}},
        {"$ref": "#/components/requestBodies/Thing"},
    ],
    ids=["inline", "multipart", "shared"],
)
def test_a_body_that_is_no_named_json_fails_by_name(body: Json) -> None:
    with pytest.raises(SystemExit, match="createThing: only JSON bodies with a named schema"):
        routes(one(requestBody=body))


@pytest.mark.parametrize(
    "parameter",
    [
        {"name": "limit", "in": "query", "schema": {"type": "integer"}},
        {"name": "limit", "in": "path", "schema": {"type": "integer"}},
        {"name": "X-Thing", "in": "header", "schema": {"type": "string"}},
        {"$ref": "#/components/parameters/Limit"},
    ],
    ids=["query", "number", "header", "shared"],
)
def test_a_parameter_that_cannot_be_served_fails_by_name(parameter: Json) -> None:
    with pytest.raises(SystemExit, match="createThing: only text parameters in the path"):
        routes(one(parameters=[parameter]))


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


def test_what_is_generated_for_the_real_contract_is_what_the_template_writes_today() -> None:
    root = Path(__file__).resolve().parents[3]
    for source in sources(root / "spec"):
        committed = (root / "generated" / "gateway_contract" / source.name / "routes.py").read_text(encoding="utf-8")
        assert functions(committed).keys() == functions(routes(corrected(root / "spec", source))).keys()
