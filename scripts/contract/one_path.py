"""One path with two operations, between which a header decides: in the contract they are one, with either's replies.

OpenAI and Anthropic both list models at `/v1/models`, in shapes of their own. Their clients send the same request but
for a header, so that a document, which tells operations apart by path and method alone, can only say: this or that.
"""

from copy import deepcopy

from scripts.contract.documents import METHODS, Json, resolve


def shared_operations(known: Json, added: Json) -> list[tuple[str, str, Json]]:
    """The operations of `added`, with path and method, that `known` has as well and that a required header tells apart.

    A path of which that is not true of every operation is left to others to complain about.
    """
    found: list[tuple[str, str, Json]] = []
    for path, item in added.items():
        here = [(path, method, item[method]) for method in METHODS if method in item]
        if path in known and all(method in known[path] and _deciding(operation) for _, method, operation in here):
            found += here
    return found


def join_operations(contract: Json, path: str, method: str, other: Json) -> None:
    """Let the operation at `path` be `other` as well: with its parameters, none required, and its replies."""
    operation = contract["paths"][path][method]
    names = {(parameter["in"], parameter["name"]) for parameter in operation.get("parameters", [])}
    more = [each for each in other.get("parameters", []) if (each["in"], each["name"]) not in names]
    operation["parameters"] = [*operation.get("parameters", []), *({**each, "required": False} for each in more)]
    described = (operation.get("description"), other.get("description"))
    operation["description"] = " ".join(filter(None, described))
    replies = operation["responses"]
    for status, reply in other["responses"].items():
        replies[status] = _either(contract, replies[status], reply) if status in replies else reply
    for scheme in other.get("security", []):
        if scheme not in operation["security"]:
            operation["security"] = [*operation["security"], scheme]


def _deciding(operation: Json) -> list[str]:
    return [each["name"] for each in operation.get("parameters", []) if each["in"] == "header" and each["required"]]


def _either(contract: Json, one: Json, other: Json) -> Json:
    """A reply that is the one or the other."""
    one, other = (deepcopy(resolve(contract, each["$ref"]) if "$ref" in each else each) for each in (one, other))
    content = one.get("content", {})
    for media, held in other.get("content", {}).items():
        known = content.get(media)
        content[media] = held if known is None else {**known, "schema": {"anyOf": [known["schema"], held["schema"]]}}
    return {**one, "headers": _headers(one, other), **({"content": content} if content else {})}


def _headers(one: Json, other: Json) -> Json:
    """The headers of both; only what both have to have is required."""
    both = {**one.get("headers", {}), **other.get("headers", {})}
    kept = one.get("headers", {}).keys() & other.get("headers", {}).keys()
    return {name: held if name in kept else {**held, "required": False} for name, held in both.items()}
