"""Hints for unknown paths: usually, a client's base_url lacks or repeats `/v1`."""

import re
from collections.abc import Collection, Iterable, Mapping

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_OPENAI_ROOT, _OLLAMA_ROOT = "v1", "api"
_MESSAGES = "messages"  # anthropic/_client.py, 2.11: base_url has no /v1
_NOTHING = "See / for what there is."
_SERVED_OF_ANTHROPICS = "Of Anthropic's API there are /v1/messages, /v1/messages/count_tokens and /v1/models here."
_UNSERVED_OF_OPENAIS = frozenset(
    {"assistants", "audio", "batches", "chatkit", "containers", "conversations", "edits", "evals", "files"}
    | {"fine_tuning", "images", "moderations", "realtime", "skills", "threads", "uploads", "vector_stores", "videos"}
)
"""Where operations of OpenAI's API are that the gateway does not have: the first step below `/v1`."""

_SERVED_OF_OPENAIS = "chat completions, completions, embeddings, models and responses"
_ORGANIZATION, _PROJECTS = "organization", "projects"
_UNSERVED = frozenset(
    {"users", "groups", "roles", "invites", "certificates", "external_keys", "external_storage"}
    | {"workload_identity_providers", "service_tier_settings"}
)
"""Parts of OpenAI's Administration API that the gateway does not have: people, vaults, identities."""

_SERVED = "projects, service accounts, keys, limits, alerts, permissions, usage, costs and audit logs"
_NOT_ADMINISTERED = "This gateway keeps no accounts: its operator has set STORE_URL=off."

type Steps = tuple[str, ...]


class PathHints:
    """Knows the paths of the contracts: those below `/v1` for OpenAI's clients, and below `/api` for Ollama's."""

    def __init__(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        self._administered = any(_ORGANIZATION in _steps(path) for path in paths)
        steps = [steps for path in paths if "{" not in path and (steps := _steps(path))]
        self._openai = sorted((path[1:] for path in steps if path[0] == _OPENAI_ROOT), key=len, reverse=True)
        # Administration and the gateway's own operations are no provider's.
        self._of_providers = {of[2:] for path in paths if (of := _steps(path))[:2] == ("{provider}", _OPENAI_ROOT)}
        self._ollama = sorted((path[1:] for path in steps if path[0] == _OLLAMA_ROOT), key=len, reverse=True)

    def message(self, path: str, origin: str, providers: Collection[str], *, is_anthropics: bool = False) -> str:
        """The error message, with the likely right path and the base_url for it.

        It never quotes the request. `is_anthropics`: the client is one of Anthropic's API.
        """
        hint = self._hint(_steps(path), origin, providers)
        if hint is None:
            hint = _SERVED_OF_ANTHROPICS if is_anthropics else _of_openais(_steps(path), providers)
        return f"There is nothing at this path. {hint}"

    def _hint(self, steps: Steps, origin: str, providers: Collection[str]) -> str | None:
        if _OLLAMA_ROOT in steps and (tail := self._tail(steps, self._ollama)) is not None:
            likely = f"/{_OLLAMA_ROOT}/{'/'.join(tail)}"
            return f"The likely path is {likely}: set the client's host, such as OLLAMA_HOST, to {origin}."
        if steps[:2] in {(_OPENAI_ROOT, _ORGANIZATION), (_OPENAI_ROOT, _PROJECTS)}:
            return self._of_administration(steps)
        provider = steps[0] if steps and steps[0] in providers else None
        base = f"/{provider}/{_OPENAI_ROOT}" if provider else f"/{_OPENAI_ROOT}"
        rest = steps[1:] if provider else steps
        if not [step for step in rest if step != _OPENAI_ROOT] and (rest or provider):
            return f"Operations are below it, such as {base}/chat/completions: {origin}{base} is a base_url."
        tail = self._tail(rest, self._openai)
        if tail is None:
            return None
        if provider and tail not in self._of_providers:
            provider, base = None, f"/{_OPENAI_ROOT}"
        if tail[0] == _MESSAGES:
            own = f"{origin}/{provider}" if provider else origin
            return (
                f"The likely path is {base}/{'/'.join(tail)}: clients that add /v1 themselves have the base_url {own}."
            )
        hint = f"The likely path is {base}/{'/'.join(tail)}: set the client's base_url to {origin}{base}"
        # /openai/deployments/{model}/...: learn.microsoft.com "Azure OpenAI in Foundry Models REST API reference"
        return f"{hint}, and the model to the name after 'deployments'." if "deployments" in steps else f"{hint}."

    def _of_administration(self, steps: Steps) -> str:
        if not self._administered:
            return _NOT_ADMINISTERED
        if steps[1:] in self._openai:
            return f"The likely path is /{'/'.join(steps)}, without further slashes."
        unserved = [step for step in steps if step in _UNSERVED]
        what = unserved[-1].replace("_", " ") if unserved else "such operation"
        return f"This gateway has no {what}: of the Administration API it serves {_SERVED}."

    @staticmethod
    def _tail(steps: Steps, known: list[Steps]) -> Steps | None:
        """The suffix of the path that is an operation's path; for models also with an id after it."""
        for tail in known:
            if steps[-len(tail) :] == tail:
                return tail
        return ("models", "{model}") if ("models",) in known and "models" in steps[:-1] else None


def _of_openais(steps: Steps, providers: Collection[str]) -> str:
    """Says so if this is a part of OpenAI's API that the gateway does not have."""
    below = [step for step in (steps[1:] if steps and steps[0] in providers else steps) if step != _OPENAI_ROOT]
    if not below or below[0] not in _UNSERVED_OF_OPENAIS:
        return _NOTHING
    return f"This gateway has no {below[0].replace('_', ' ')}: of OpenAI's API it serves {_SERVED_OF_OPENAIS}."


def origin_of(scheme: str, headers: Mapping[str, str]) -> str:
    """The origin by which the client calls the gateway."""
    host = headers.get("host", "")
    forwarded = headers.get("x-forwarded-proto", "")
    return f"{'https' if forwarded == 'https' else scheme}://{host if _HOST.fullmatch(host) else '<gateway>'}"


def _steps(path: str) -> Steps:
    return tuple(step for step in path.split("/") if step)
