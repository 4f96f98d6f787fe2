"""Write Grafana's dashboards in deploy/grafana: `python -m scripts.dashboards`.

A panel is a title, a unit and its queries, each with its legend. `[range]` is the interval that Grafana finds fit, and
`{of}` what the variables at the top select.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "grafana"
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 24
_SOURCE = {"type": "prometheus", "uid": "${source}"}
# Leaves out what probes and Prometheus itself ask for.
_CALLS = (
    'operation=~"create(ChatCompletion|Completion|Embedding|Response|Message)|(compact|makeBackground)Response|'
    'ollama(Chat|Generate|Embed|Embeddings)"'
)


class Panel(NamedTuple):
    """One graph; `unit` is Grafana's name of it."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    stacked: bool = False


def _quantile(quantile: float, name: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate(ai_gateway_{name}_bucket{{{{of}}}}[range])))"


def _rate(name: str, by: str, more: str = "") -> str:
    labels = f"{{of}}, {more}" if more else "{of}"
    return f"sum by ({by}) (rate(ai_gateway_{name}_total{{{labels}}}[range]))"


_DASHBOARDS: dict[str, tuple[str, Sequence[Panel]]] = {
    "overview": (
        "AI Gateway: overview",
        (
            Panel("Requests by status", "reqps", [(_rate("requests", "status", _CALLS), "{{status}}")], stacked=True),
            Panel("Errors by code", "reqps", [(_rate("requests", "code", f'{_CALLS}, code!=""'), "{{code}}")]),
            Panel(
                "Duration",
                "s",
                [(_quantile(q, "request_duration_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)],
            ),
            Panel(
                "First byte", "s", [(_quantile(q, "first_byte_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]
            ),
            Panel(
                "Overhead of the gateway",
                "s",
                [(_quantile(q, "overhead_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99)],
            ),
            Panel("In flight", "short", [("sum by (instance) (ai_gateway_requests_in_flight{of})", "{{instance}}")]),
            Panel(
                "Turned away",
                "reqps",
                [
                    (_rate("overloads", "what"), "overload: {{what}}"),
                    (_rate("limited_requests", "what, of"), "limit of {{of}}: {{what}}"),
                    (_rate("wrong_keys", "instance"), "wrong keys at {{instance}}"),
                ],
            ),
            Panel(
                "Event loop lag, p99", "s", [(_quantile(0.99, "event_loop_lag_seconds", "instance"), "{{instance}}")]
            ),
            Panel(
                "CPU by worker",
                "percentunit",
                [(_rate("process_cpu_seconds", "instance, worker"), "{{instance}} {{worker}}")],
            ),
            Panel(
                "Memory by worker",
                "bytes",
                [("ai_gateway_process_resident_memory_bytes{of}", "{{instance}} {{worker}}")],
            ),
        ),
    ),
    "providers": (
        "AI Gateway: providers",
        (
            Panel("Requests", "reqps", [(_rate("requests", "provider", 'provider!=""'), "{{provider}}")], stacked=True),
            Panel(
                "Failures",
                "percentunit",
                [
                    (
                        "sum by (provider) (rate(ai_gateway_requests_total"
                        '{{of}, provider!="", status="5xx"}[range])) / '
                        + _rate("requests", "provider", 'provider!=""'),
                        "{{provider}}",
                    )
                ],
            ),
            Panel("First byte, p95", "s", [(_quantile(0.95, "first_byte_seconds", "provider"), "{{provider}}")]),
            Panel(
                "Between two events, p95",
                "s",
                [(_quantile(0.95, "stream_event_interval_seconds", "provider"), "{{provider}}")],
            ),
            Panel(
                "In flight",
                "short",
                [("sum by (provider) (ai_gateway_upstream_requests_in_flight{of})", "{{provider}}")],
            ),
            Panel(
                "Breakers that are not closed",
                "short",
                [
                    (
                        'sum by (provider, state) (ai_gateway_breakers{{of}, state!="closed"})',
                        "{{provider}} {{state}}",
                    )
                ],
            ),
            Panel(
                "Retries and failovers",
                "reqps",
                [
                    (_rate("retries", "provider"), "retry at {{provider}}"),
                    (_rate("failovers", "provider"), "away from {{provider}}"),
                ],
            ),
            Panel(
                "Connections",
                "short",
                [("sum by (provider, state) (ai_gateway_upstream_connections{of})", "{{provider}} {{state}}")],
            ),
            Panel(
                "Streams that broke", "reqps", [(_rate("broken_streams", "provider, code"), "{{provider}} {{code}}")]
            ),
        ),
    ),
    "money": (
        "AI Gateway: money",
        (
            Panel(
                "Cost by model",
                "currencyUSD",
                [("sum by (provider, model) (increase(ai_gateway_cost_usd_total{of}[1h]))", "{{provider}}/{{model}}")],
                stacked=True,
            ),
            Panel(
                "Used of spend limits",
                "percentunit",
                [
                    (
                        "max by (of, id, interval) (ai_gateway_spend_usd + ai_gateway_reserved_usd) / "
                        "max by (of, id, interval) (ai_gateway_spend_limit_usd)",
                        "{{of}} {{id}} by {{interval}}",
                    )
                ],
            ),
            Panel("Held for calls in flight", "currencyUSD", [("max by (id) (ai_gateway_reserved_usd)", "{{id}}")]),
            Panel("Tokens by class", "short", [(_rate("tokens", "class"), "{{class}}")], stacked=True),
            Panel("Tokens by model", "short", [(_rate("tokens", "provider, model"), "{{provider}}/{{model}}")]),
            Panel(
                "Calls without a price",
                "reqps",
                [(_rate("unpriced_requests", "provider, model"), "{{provider}}/{{model}}")],
            ),
            Panel("Records that may not be in the store", "bytes", [("ai_gateway_journal_bytes{of}", "{{instance}}")]),
            Panel(
                "Records and calls lost",
                "short",
                [
                    ("sum(increase(ai_gateway_dropped_records_total{of}[1h]))", "records dropped"),
                    ("sum(increase(ai_gateway_lost_calls_total{of}[1h]))", "calls of killed processes"),
                ],
            ),
        ),
    ),
    "conformance": (
        "AI Gateway: conformance",
        (
            Panel("Repairs by provider", "reqps", [(_rate("repairs", "provider"), "{{provider}}")], stacked=True),
            Panel("Repairs by rule", "reqps", [(_rate("repairs", "rule"), "{{rule}}")]),
            Panel(
                "Dropped parameters", "reqps", [(_rate("dropped_params", "provider, field"), "{{provider}} {{field}}")]
            ),
            Panel(
                "Streams that broke", "reqps", [(_rate("broken_streams", "provider, code"), "{{provider}} {{code}}")]
            ),
            Panel(
                "How requests end",
                "percentunit",
                [
                    (
                        _rate("requests", "end", _CALLS)
                        + " / ignoring (end) group_left () sum(rate(ai_gateway_requests_total{{of}, "
                        + _CALLS
                        + "}[range]))",
                        "{{end}}",
                    )
                ],
                stacked=True,
            ),
        ),
    ),
}


def queries(dashboard: dict[str, Any]) -> Iterable[str]:
    """Every query of a dashboard."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def dashboards() -> dict[str, str]:
    """The text of each file, by its name."""
    return {f"{name}.json": json.dumps(_dashboard(name, *what), indent=1) + "\n" for name, what in _DASHBOARDS.items()}


def _dashboard(name: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    return {
        "uid": f"ai-gateway-{name}",
        "title": title,
        "tags": ["ai-gateway"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "job",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": "label_values(ai_gateway_build_info, job)",
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                    "refresh": 2,
                },
            ]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    across = _COLUMNS // _WIDTH
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {
            "x": number % across * _WIDTH,
            "y": number // across * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {
                    "fillOpacity": 20 if panel.stacked else 5,
                    "stacking": {"mode": "normal" if panel.stacked else "none"},
                },
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"]}},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": _filled(query), "legendFormat": legend}
            for at, (query, legend) in enumerate(panel.queries)
        ],
    }


def _filled(query: str) -> str:
    of = 'job=~"$job"'
    return query.replace("{of}", of if "{{of}" in query else f"{{{of}}}").replace("[range]", "[$__rate_interval]")


if __name__ == "__main__":
    for name, text in dashboards().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
