"""Settings of telemetry beside the log: bodies, and traces with OpenTelemetry's own variable names."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ai_gateway.config.fields import LOWER_CASE, CollectorHeaders, CollectorUrl
from ai_gateway.config.marks import RESTART, SECRET

type Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class Telemetry(BaseModel):
    """Settings of the log of bodies and of traces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log_bodies: Annotated[
        Literal["off", "errors", "all"],
        Field(description="which requests and replies to write down with their bodies: off, errors or all"),
        LOWER_CASE,
    ] = "off"
    log_bodies_file: Annotated[
        Path | None, Field(description="file for them [bodies.jsonl in GATEWAY_DATA_DIR]"), RESTART
    ] = None
    log_bodies_max_size: Annotated[
        int, Field(ge=1, le=2**20, description="bytes that are kept of one body, there and in traces"), RESTART
    ] = 64 * 2**10
    otel_exporter_otlp_endpoint: Annotated[
        CollectorUrl | None,
        Field(description="collector of traces, by OTLP over HTTP: http://host:4318; takes the extra otel"),
        RESTART,
    ] = None
    otel_exporter_otlp_headers: Annotated[
        CollectorHeaders | None, Field(description="headers for it: name=value, comma-separated"), SECRET, RESTART
    ] = None
    otel_service_name: Annotated[
        str, Field(min_length=1, max_length=256, description="what the gateway is called in traces"), RESTART
    ] = "ai-gateway"
    otel_traces_sampler: Annotated[
        Sampler, Field(description="which traces are kept, by OpenTelemetry's names of samplers"), LOWER_CASE, RESTART
    ] = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False, description="share of traces that a traceidratio sampler keeps"),
        RESTART,
    ] = 1.0
    otel_bsp_schedule_delay: Annotated[
        int, Field(ge=1, le=60_000, description="milliseconds that spans wait for others, to be sent together"), RESTART
    ] = 1000
    otel_instrumentation_genai_capture_message_content: Annotated[
        bool, Field(description="put messages into traces, where the project's data retention allows it"), RESTART
    ] = False
