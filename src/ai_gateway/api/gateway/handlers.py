"""The gateway's own operations: service info, health, metrics, tools, parameters."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, override

from ai_gateway.api.access import Access
from ai_gateway.api.boundary import WireBoundary
from ai_gateway.api.gateway.health import Accounts, accounts_health, is_degraded, model_list_health, providers_health
from ai_gateway.config.constants import BUILD, VERSION
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Content
from ai_gateway.contract.wire import OPENAI
from ai_gateway.errors import MissingApiKey, NotFound, Unavailable
from ai_gateway.gateway import Gateway
from ai_gateway.providers.base import Provider
from ai_gateway.routing.model_list.feed import ListFeed
from ai_gateway.tools.offer import PREFIX, TYPES
from ai_gateway.tools.registry import Listed
from gateway_contract.gateway import models
from gateway_contract.gateway.routes import Handlers


@dataclass(slots=True)
class Lifecycle:
    """Whether the gateway takes traffic; set by the server."""

    ready: bool = False
    draining: bool = False


type MetricsContent = Content[
    Literal["text/plain; version=0.0.4; charset=utf-8", "application/openmetrics-text; version=1.0.0; charset=utf-8"]
]


@dataclass(frozen=True, slots=True)
class ServedMetrics:
    """The metrics of all workers, in the format that the client accepts."""

    read: Callable[[str], Awaitable[MetricsContent]]
    need_key: bool = False


class StatusHandlers(WireBoundary, Handlers):
    takes_administrators = True

    def __init__(  # noqa: PLR0913 - what a report is made of
        self,
        gateway: Gateway,
        access: Access,
        body_limits: BodyLimits,
        lifecycle: Lifecycle,
        endpoints: list[str],
        *,
        documented: bool,
        model_list: Callable[[], ListFeed | None],
        check_timeout_s: Callable[[], float],
        accounts: Accounts | None = None,
        metrics: ServedMetrics | None = None,
    ) -> None:
        super().__init__(OPENAI, access, body_limits)
        self.gateway = gateway
        self.lifecycle = lifecycle
        self.endpoints = endpoints
        self.documented = documented
        self._started = time.monotonic()
        self._model_list = model_list
        self._check_timeout_s = check_timeout_s
        self._accounts = accounts
        self._metrics = metrics

    @override
    async def get_service_info(self, call: Call) -> models.ServiceInfo | str:
        if not _takes_json(call.headers):
            return "Ollama is running"
        return models.ServiceInfo(
            name="Universal AI Gateway",
            version=VERSION,
            docs="/docs" if self.documented else None,
            openapi="/openapi.json" if self.documented else None,
            providers=self.gateway.registry.names,
            endpoints=self.endpoints,
        )

    @override
    async def head_service_info(self, call: Call) -> None:
        return None

    @override
    async def get_liveness(self, call: Call) -> models.Liveness:
        return models.Liveness(status="ok")

    @override
    async def head_hello(self, call: Call) -> None:
        return None

    @override
    async def head_liveness(self, call: Call) -> None:
        return None

    @override
    async def get_health(self, call: Call, query: models.GetHealthQuery) -> models.HealthReport:
        routing = self.gateway.routing
        if query.deep:
            if not call.caller.trusted:
                raise MissingApiKey("A deep check calls upstreams, so it is for callers with a key.")
            await routing.catalogue.check(self._check_timeout_s())
        elif self.access.may_cause_calls(call.caller, call.headers):
            routing.catalogue.refresh()  # for the next report: this one must not wait
        feed = self._model_list()
        status = feed.status if feed else None
        accounts = accounts_health(self._accounts) if self._accounts is not None else None
        report = models.HealthReport(status="degraded" if is_degraded(self.gateway, status, accounts) else "ok")
        if call.caller.trusted:
            report.version = VERSION
            report.uptime_s = round(time.monotonic() - self._started, 3)
            report.providers = providers_health(self.gateway)
            if accounts is not None:
                report.accounts = accounts
            if status is not None:
                report.model_list = model_list_health(routing, status)
        return report

    @override
    async def head_health(self, call: Call) -> None:
        return None

    @override
    async def get_readiness(self, call: Call) -> models.Readiness:
        await self.head_readiness(call)
        feed = self._model_list()
        if feed is None:
            return models.Readiness(status="ready")
        return models.Readiness(status="ready", model_list=feed.status.state)

    @override
    async def head_readiness(self, call: Call) -> None:
        if self.lifecycle.draining or not self.lifecycle.ready:
            raise Unavailable("The gateway is starting or stopping: try another replica.", headers={"retry-after": "1"})
        if self._accounts is not None and self._accounts.problem is not None:
            raise Unavailable(
                "The store of keys and usage cannot be used: the gateway's log says why.", headers={"retry-after": "5"}
            )

    @override
    async def get_version(self, call: Call) -> models.VersionInfo:
        return models.VersionInfo(version=VERSION, commit=BUILD.commit, build_date=BUILD.date, dev=BUILD.commit is None)

    @override
    async def get_metrics(self, call: Call) -> MetricsContent:
        if self._metrics is None:
            raise NotFound("There are no metrics here: ENABLE_METRICS is off.")
        if self._metrics.need_key and self.access.keys and call.caller.key_id is None:
            raise MissingApiKey("Metrics are for callers with a key here: METRICS_REQUIRE_KEY is on.")
        return await self._metrics.read(call.headers.get("accept", ""))

    @override
    async def list_tools(self, call: Call) -> models.ToolList:
        listed = await self.gateway.tools.listed(call.caller)
        return models.ToolList(object="list", data=[_tool(each) for each in listed])

    @override
    async def list_parameters(self, call: Call) -> models.ParameterLedger:
        return models.ParameterLedger(providers=[_ledger_of(provider) for provider in self.gateway.registry])


def _tool(listed: Listed) -> models.HostedTool:
    tool = models.HostedTool(
        object="gateway.tool",
        type=f"{TYPES}{listed.name}",
        functions=[
            models.HostedFunction(
                name=f"{PREFIX}{each.name}", description=each.description, parameters=dict(each.parameters)
            )
            for each in listed.functions
        ],
        price_usd=listed.price / 10**12,
    )
    if listed.provider is not None:
        tool.provider = listed.provider
    if listed.problem is not None:
        tool.problem = listed.problem
    return tool


def _ledger_of(provider: Provider) -> models.ProviderParameters:
    kept = provider.parameters
    return models.ProviderParameters(
        provider=provider.name,
        operations=[
            models.OperationParameters(
                operation=operation,
                forwarded=kept.fields(operation, "forwarded"),
                mapped=kept.fields(operation, "mapped"),
                dropped=kept.fields(operation, "dropped"),
                refused=kept.fields(operation, "refused"),
                unknown=kept.unknown(operation),
            )
            for operation in kept.operations
        ],
    )


def _takes_json(headers: Mapping[str, str]) -> bool:
    """Whether to answer with JSON: Ollama's clients, and those that do not accept JSON, expect Ollama's text."""
    if headers.get("user-agent", "").lower().startswith("ollama"):
        return False
    accepted = headers.get("accept", "*/*").lower()
    return not accepted.strip() or any(kind in accepted for kind in ("application/json", "application/*", "*/*"))
