"""Generate the route stubs and the `Handlers` protocol of one document."""

import re
from dataclasses import replace
from pathlib import Path

import jinja2

from scripts.contract.documents import Json, operations
from scripts.contract.stubs import RouteRow, Stub, stub

_TEMPLATES = Path(__file__).parent / "templates"


def generate_routes(name: str, document: Json, header: str) -> str:
    """Python source of one module. Raises SystemExit for an operation that the seam cannot express."""
    stubs: dict[str, Stub] = {}
    for path, method, operation in operations(document):
        made = stub(path, method, operation, document)
        known = stubs.setdefault(made.function, made)
        if known is not made:  # the same operation behind another door
            if replace(known, routes=[]) != replace(made, routes=[]):
                raise SystemExit(f"{operation['operationId']}: another operation has this name, and is not the same")
            known.routes.extend(made.routes)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is Python, not HTML
    )
    code = [each.returns + each.signature for each in stubs.values()]
    paths = list(document["paths"])
    return header + environment.get_template("routes.py.j2").render(
        name=name,
        stubs=list(stubs.values()),
        routed=_ordered(list(stubs.values()), paths),
        served=lambda route: _served(route.path, paths),
        framings=", ".join(sorted({each.framing for each in stubs.values()} - {""})),
        typing=", ".join(word for word in ("Literal", "NoReturn") if any(word in written for written in code)),
        streams=", ".join(
            word for word in ("Content", "Reply", "Stream") if any(f"{word}[" in written for written in code)
        ),
        uses_models=any("models." in written for written in code),
        uses_uploads=any("UploadedFile" in written for written in code),
    )


def _served(path: str, paths: list[str]) -> str:
    """The path as Starlette takes it: its last parameter may hold slashes, as ids of models do, unless paths go on."""
    goes_on = any(other.startswith(path + "/") for other in paths)
    return path if goes_on else re.sub(r"\{(\w+)\}$", r"{\1:path}", path)


def _ordered(stubs: list[Stub], paths: list[str]) -> list[Stub]:
    """The stubs in an order in which each is reached: those whose parameters take others' paths come after them."""

    def takes(route: RouteRow, other: RouteRow) -> bool:
        pattern = re.sub(
            r"\\\{\w+(:path)?\\\}", lambda m: ".*" if m[1] else "[^/]+", re.escape(_served(route.path, paths))
        )
        return route.method == other.method and re.fullmatch(pattern, other.path) is not None

    def taken(one: Stub) -> int:
        return sum(
            takes(route, other) for route in one.routes for each in stubs if each is not one for other in each.routes
        )

    return sorted(stubs, key=taken)
