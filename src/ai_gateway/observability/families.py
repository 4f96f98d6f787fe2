"""The metric families: names, labels, and how values of several workers are merged.

docs/metrics.md is generated from this module. Every label has a closed set of values; no label has values that callers
or upstreams choose freely.
"""

from typing import Literal, NamedTuple

from ai_gateway.observability.metrics import SHORT, Event, Timing

PREFIX = "ai_gateway_"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_BYTES = (256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0)


class Family(NamedTuple):
    """One metric. Its name is without prefix and, for counters, without `_total`.

    Counters and histograms of several workers are added; gauges are merged by `over`, where `each` means one series for
    each worker.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    over: Literal["sum", "max", "each"] = "sum"


REQUESTS = Family(
    "requests",
    "counter",
    "Requests by what they were for, who answered, the class of their status (2xx; none if the client had left), the "
    "error's code and how they ended",
    ("operation", "wire", "provider", "model", "status", "code", "end"),
)
DURATION = Family(
    "request_duration_seconds",
    "histogram",
    "From the head of a request to the last byte of its reply",
    ("operation", "provider", "stream"),
    _SECONDS,
)
FIRST_BYTE = Family(
    "first_byte_seconds",
    "histogram",
    "From the head of a request to the head of its reply, which of a stream goes out with the first event",
    ("operation", "provider", "stream"),
    _SECONDS,
)
OVERHEAD = Family(
    "overhead_seconds",
    "histogram",
    "Time to the head of a reply that was not spent on attempts at upstreams and the pauses between them",
    ("operation", "stream"),
    SHORT,
)
INTERVAL = Family(
    "stream_event_interval_seconds",
    "histogram",
    "Mean time between two events of a stream, once for each stream",
    ("provider",),
    SHORT,
)
BODY = Family("request_body_bytes", "histogram", "Size of request bodies", ("operation",), _BYTES)
TOKENS = Family(
    "tokens",
    "counter",
    "Tokens that upstreams have counted, each in one class",
    ("provider", "model", "class"),
)
COST = Family("cost_usd", "counter", "Cost of calls whose price is known, in USD", ("provider", "model"))
UNPRICED = Family("unpriced_requests", "counter", "Calls whose price is not known", ("provider", "model"))

EVENTS: dict[Event, Family] = {
    Event.REPAIR: Family(
        "repairs", "counter", "Rules of conformance applied to a reply or event", ("provider", "rule")
    ),
    Event.DROPPED: Family(
        "dropped_params", "counter", "Request fields that had no effect at a provider", ("provider", "field")
    ),
    Event.RETRY: Family("retries", "counter", "Attempts after a failed one", ("provider",)),
    Event.FAILOVER: Family("failovers", "counter", "Failed targets whose route had a next one", ("provider",)),
    Event.BREAKER_OPENED: Family("breaker_openings", "counter", "Times that a breaker opened", ("provider",)),
    Event.BREAKER_REFUSED: Family("breaker_refusals", "counter", "Calls that an open breaker refused", ("provider",)),
    Event.BROKEN_STREAM: Family(
        "broken_streams", "counter", "Streams that ended in an error event", ("provider", "code")
    ),
    Event.OVERLOAD: Family("overloads", "counter", "Requests turned away, by what there was too much of", ("what",)),
    Event.WRONG_KEY: Family("wrong_keys", "counter", "Requests with a key that is not known"),
    Event.LIMITED: Family(
        "limited_requests",
        "counter",
        "Requests over a limit, by what was limited and whose limit it was",
        ("what", "of"),
    ),
    Event.UNCOUNTED_CALLS: Family(
        "counters_away", "counter", "Calls whose limits could not be counted: LIMITS_OUTAGE decided"
    ),
    Event.SPEND_ALERT: Family("spend_alerts", "counter", "Spend alerts by what became of them", ("outcome", "channel")),
    Event.LOST_CALL: Family("lost_calls", "counter", "Calls whose process was killed: charged by their bound"),
    Event.RECORD_DROPPED: Family("dropped_records", "counter", "Usage records that are lost"),
    Event.LEDGER_AWAY: Family("ledger_away", "counter", "Times that the store could not take usage records"),
    Event.TOOL_CALL: Family(
        "tool_calls", "counter", "Calls of tools that run here, by what became of them", ("tool", "outcome")
    ),
    Event.LOG_DROPPED: Family("dropped_log_records", "counter", "Log records that could not be written"),
    Event.SPAN_DROPPED: Family("dropped_spans", "counter", "Spans of traces that no collector got"),
    Event.BODY_DROPPED: Family("dropped_body_records", "counter", "Records of LOG_BODIES that could not be written"),
}

TIMINGS: dict[Timing, Family] = {
    Timing.LOOP_LAG: Family(
        "event_loop_lag_seconds", "histogram", "How late a timer rang, looked at once a second", (), SHORT
    ),
    Timing.COUNTERS: Family(
        "counters_seconds", "histogram", "Time to hold or to settle what limits count", ("step",), SHORT
    ),
    Timing.LEDGER: Family(
        "ledger_seconds", "histogram", "Time to take a batch of usage records to the store", (), SHORT
    ),
    Timing.TOOL: Family("tool_seconds", "histogram", "Time that calls of tools take that run here", ("tool",), SHORT),
}

IN_FLIGHT = Family("requests_in_flight", "gauge", "Requests that are being answered")
BODY_BUDGET = Family("body_budget_bytes", "gauge", "What request bodies use of BODIES_MAX_SIZE")
UPSTREAM_IN_FLIGHT = Family("upstream_requests_in_flight", "gauge", "Requests at a provider", ("provider",))
BREAKERS = Family("breakers", "gauge", "Workers whose breaker is in this state", ("provider", "state"))
CONNECTIONS = Family("upstream_connections", "gauge", "Connections to a provider", ("provider", "state"))
JOURNAL_BYTES = Family("journal_bytes", "gauge", "Size of usage records that may not be in the store yet")
JOURNAL_WAITING = Family("journal_waiting_records", "gauge", "Usage records in memory that wait for the store")
JOURNAL_AGE = Family(
    "journal_age_seconds", "gauge", "How long the store has not taken usage records that wait", over="max"
)
STORE_UNREACHABLE = Family("store_away", "gauge", "1 while the store cannot be used", over="max")
COUNTERS_UNREACHABLE = Family("counters_unreachable", "gauge", "1 while limits cannot be counted", over="max")
DISK_FREE = Family("data_directory_free_bytes", "gauge", "Room left where GATEWAY_DATA_DIR is", over="max")
SPEND = Family(
    "spend_usd", "gauge", "Spent in the current window of a spend limit", ("of", "id", "interval"), over="max"
)
RESERVED = Family(
    "reserved_usd", "gauge", "Held for calls in flight in that window", ("of", "id", "interval"), over="max"
)
SPEND_LIMIT = Family("spend_limit_usd", "gauge", "The spend limit itself", ("of", "id", "interval"), over="max")
CPU = Family("process_cpu_seconds", "counter", "User and system time", ("worker",), over="each")
MEMORY = Family("process_resident_memory_bytes", "gauge", "Resident memory", ("worker",), over="each")
OPEN_FILES = Family("process_open_fds", "gauge", "Open file descriptors", ("worker",), over="each")
MAX_FILES = Family("process_max_fds", "gauge", "The limit of open file descriptors", ("worker",), over="each")
STARTED = Family("process_start_time_seconds", "gauge", "Start of the worker since the epoch", ("worker",), over="each")
COLLECTIONS = Family("gc_collections", "counter", "Garbage collections", ("worker", "generation"), over="each")
WORKERS = Family("workers", "gauge", "Workers that report")
BUILD_INFO = Family("build_info", "gauge", "The version that runs; its value is 1", ("version", "commit"), over="max")

FAMILIES: tuple[Family, ...] = (
    *(REQUESTS, DURATION, FIRST_BYTE, OVERHEAD, INTERVAL, BODY, TOKENS, COST, UNPRICED),
    *EVENTS.values(),
    *TIMINGS.values(),
    *(IN_FLIGHT, BODY_BUDGET, UPSTREAM_IN_FLIGHT, BREAKERS, CONNECTIONS),
    *(
        JOURNAL_BYTES,
        JOURNAL_WAITING,
        JOURNAL_AGE,
        STORE_UNREACHABLE,
        COUNTERS_UNREACHABLE,
        DISK_FREE,
        SPEND,
        RESERVED,
        SPEND_LIMIT,
    ),
    *(CPU, MEMORY, OPEN_FILES, MAX_FILES, STARTED, COLLECTIONS, WORKERS, BUILD_INFO),
)
BY_NAME = {family.name: family for family in FAMILIES}
