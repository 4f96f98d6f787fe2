"""The command line's client of the Administration API: of a running gateway, or on this machine's store."""

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from ai_gateway.accounts.configured import configured_keys
from ai_gateway.accounts.keys import ConfiguredKey
from ai_gateway.app.local_administration import local_administration
from ai_gateway.config.constants import VERSION
from ai_gateway.config.fields import is_header_value, is_web_address
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.secrets import read_secret
from ai_gateway.config.settings import Settings
from ai_gateway.config.sources import read_settings, read_sources
from ai_gateway.observability.logging import configure_logging
from ai_gateway.redaction import remember

_TIMEOUT_S = 30.0
_PAGE = 100
_LOCAL = "http://this-machine"


class Refusal(Exception):
    """The command cannot be carried out.

    Each of the `problems` says why, and what to do next; `code` is the exit code.
    """

    def __init__(self, problem: str | Sequence[str], code: int = 1) -> None:
        super().__init__(problem)
        self.problems = [problem] if isinstance(problem, str) else list(problem)
        self.code = code


@dataclass(frozen=True, slots=True)
class Api:
    """Calls operations by operationId. `place` describes what is administered, `url` is the gateway's for callers."""

    http: httpx.AsyncClient
    place: str
    url: str

    async def call[Reply: BaseModel](
        self,
        operation: str,
        reply: type[Reply],
        body: Mapping[str, object] | None = None,
        **parameters: str | int | Sequence[str],
    ) -> Reply:
        """Call an operation; parameters that are not in its path go into the query. Raises Refusal."""
        response = await self._request(operation, body, parameters)
        if response.status_code >= 400:
            raise Refusal(self._refused(response))
        return self._read(response, reply)

    async def text(self, operation: str, **parameters: str | int | Sequence[str]) -> str:
        """Call an operation that answers with a text. Raises Refusal."""
        response = await self._request(operation, None, parameters)
        if response.status_code >= 400:
            raise Refusal(self._refused(response))
        return response.text

    async def find[Reply: BaseModel](self, operation: str, reply: type[Reply], **parameters: str | int) -> Reply | None:
        """Call an operation; None for 404. Raises Refusal."""
        response = await self._request(operation, None, parameters)
        if response.status_code == 404:
            return None
        if response.status_code >= 400:
            raise Refusal(self._refused(response))
        return self._read(response, reply)

    async def every(self, operation: str, reply: type[BaseModel], **parameters: str | int) -> list[Any]:
        """All items of a list, page by page. Raises Refusal."""
        found: list[Any] = []
        query: dict[str, Any] = {**parameters, "limit": _PAGE}
        while True:
            page: Any = await self.call(operation, reply, **query)
            found += page.data
            if not page.has_more or not page.data:
                return found
            query["after"] = page.last_id or page.data[-1].id

    async def _request(
        self, operation: str, body: Mapping[str, object] | None, parameters: Mapping[str, str | int | Sequence[str]]
    ) -> httpx.Response:
        method, path = _operations()[operation]
        try:
            return await self._sent(method, path, body, parameters)
        except UnicodeEncodeError:  # shell arguments may have invalid UTF-8
            raise Refusal("What was given is not UTF-8 text.", 2) from None

    async def _sent(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        parameters: Mapping[str, str | int | Sequence[str]],
    ) -> httpx.Response:
        named = {name: quote(str(value), safe="") for name, value in parameters.items() if f"{{{name}}}" in path}
        query = {name: value for name, value in parameters.items() if name not in named}
        try:
            return await self.http.request(method, path.format(**named), params=query, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Refusal(_unreached(self.url, error)) from error

    def _read[Reply: BaseModel](self, response: httpx.Response, reply: type[Reply]) -> Reply:
        try:
            return reply.model_validate_json(response.content)
        except ValidationError:
            raise Refusal(f"{self.url} does not answer as a gateway does: check --url") from None

    def _refused(self, response: httpx.Response) -> str:
        """The gateway's refusal, with advice that only the command line can give."""
        try:
            error = response.json()["error"]
            message, code = str(error["message"]), error.get("code")
        except (ValueError, KeyError, TypeError):
            return f"{self.url} answered {response.status_code} and not as a gateway does: check --url"
        if response.status_code == 401:
            return f"{message} Give an administrator's key of this gateway with --admin-key, or in ADMIN_API_KEY."
        if code == "insufficient_permissions":
            return (
                f"{message} On the gateway's own machine, `ai-gateway keys create NAME --admin` makes one, "
                "and ADMIN_API_KEY sets one."
            )
        return message if response.status_code != 503 else f"{message} ({self.place})"


@asynccontextmanager
async def connected(url: str | None, admin_key: str | None) -> AsyncIterator[Api]:
    """The API of the gateway at this URL or, without one, of this machine's store. Raises Refusal."""
    if url is None:
        try:
            sources = read_sources()
            settings = read_settings(sources)
            keys = configured_keys(settings, sources.environment)
        except SettingsError as error:
            raise Refusal(error.problems, 2) from error
        configure_logging("error")
        async with _local(settings, keys) as api:
            yield api
        return
    key = admin_key or _key_in_file()
    root = path_of("listModelsRouted").rpartition("/")[0]
    base = url.strip().rstrip("/").removesuffix(root)  # people may enter a client's base_url
    if not is_web_address(base):
        raise Refusal(f"--url: {url!r} is no address: write one such as https://gateway.example.com", 2)
    if not key:
        raise Refusal("--url needs an administrator's key: give it with --admin-key, or in ADMIN_API_KEY", 2)
    key = key.split(",")[0].strip()  # the setting may contain several
    if not is_header_value(key):
        raise Refusal("--admin-key: holds characters that no header can carry", 2)
    remember(key)
    headers = {"authorization": f"Bearer {key}", "user-agent": f"ai-gateway/{VERSION}"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT_S) as http:
        yield Api(http, base, base)


@asynccontextmanager
async def _local(settings: Settings, keys: Sequence[ConfiguredKey]) -> AsyncIterator[Api]:
    host = "127.0.0.1" if settings.service_host in {"0.0.0.0", "::"} else settings.service_host  # noqa: S104
    scheme = "http" if settings.ssl_certfile is None else "https"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.service_port}"
    try:
        async with local_administration(settings, keys) as (app, place):
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 0))
            agent = {"user-agent": f"ai-gateway/{VERSION}"}
            async with httpx.AsyncClient(transport=transport, base_url=_LOCAL, headers=agent) as http:
                yield Api(http, place, url)
    except SettingsError as error:
        raise Refusal(error.problems, 2) from error


def _key_in_file() -> str | None:
    problems: list[str] = []
    key = read_secret(os.environ, "ADMIN_API_KEY", problems)
    if problems:
        raise Refusal(problems, 2)
    return key


def _unreached(url: str, error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"The gateway at {url} did not answer within {_TIMEOUT_S:.0f} s: try again"
    if isinstance(error, httpx.ConnectError):
        return f"No gateway answers at {url} ({error}): start it with `ai-gateway serve`, or check --url"
    return f"The gateway at {url} could not be reached: {type(error).__name__} {error}".rstrip()


@cache
def _operations() -> Mapping[str, tuple[str, str]]:
    """Method and path of each operation, by operationId."""
    contract = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))
    return {
        operation["operationId"]: (method.upper(), path)
        for path, item in contract["paths"].items()
        for method, operation in item.items()
    }


def path_of(operation: str) -> str:
    """The path of an operation."""
    return _operations()[operation][1]
