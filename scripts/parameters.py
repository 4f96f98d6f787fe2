"""`python -m scripts.parameters`: write docs/parameters.md from what the adapters declare."""

from collections.abc import Iterator
from pathlib import Path

from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.custom.parameters import POLICIES
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.parameters import Parameters
from gateway_contract.openai.parameters import Policies

PAGE = Path(__file__).resolve().parents[1] / "docs" / "parameters.md"
_INTRO = """\
# Parameters

<!-- Written by `make docs` from what the adapters declare. Do not edit. -->

What becomes of every request field, for each kind of provider. Nothing is lost silently: each field of the contract is
exactly one of

- **forwarded**: the provider gets it as it came.
- **mapped**: the provider gets it, or honours it, in terms of its own. `model` loses the provider's name in front.
- **dropped**: it would have no effect there, so it is taken out, and the reply's header `X-Gateway-Dropped-Params`
  names it (`X-Gateway-Dropped-Params: temperature,user`). A null counts as not sent.
- **refused**: the provider cannot honour it, so sending it is a 400 `unsupported_parameter`, whose `param` names it.

An operation of which every field is refused is not offered: 400 `unsupported_operation`.

A running gateway serves the same for its own providers as JSON at `GET /v1/parameters`.

An adapter does not compile without a decision about every field: the contract generates the list, and mypy names the
field that a newer official document brings and nobody decided on.

## Fields that the contract does not name

`UNKNOWN_PARAMS` decides about further fields at the top of the body; `unknown_params` in a provider's table of
[gateway.toml](configuration.md#gatewaytoml) decides for that provider.

| Value | What happens |
|---|---|
| `forward` | They are sent on, values and order of keys as they came. The default on OpenAI's wire. |
| `drop` | They are taken out and named in `X-Gateway-Dropped-Params`. The default on other wires. |
| `reject` | 400 `unknown_parameter`, whose `param` names the first one. |

Embedding requests are closed by the official document: a further field there is always a 400 `unknown_parameter`.
In the header, a name of more than 64 characters or with others than `A-Z a-z 0-9 _ . -` is counted and not shown, and
so is every name after the fiftieth: `a,b,+3` stands for five fields.

## What stays in order

An upstream of OpenAI's own wire gets every key, at the top and inside, in the order in which it was sent, and the same
values: `1.0` stays a float, and integers keep all their digits. A number may be spelled differently (`1e3` becomes
`1000.0`), and of two equal keys the last one counts.
"""


def page() -> str:
    """The whole page."""
    adapters = _adapters()
    sections = [_section(operation, adapters) for operation in next(iter(adapters.values())).operations]
    return "\n".join([_INTRO, *sections])


def _adapters() -> dict[str, Parameters]:
    """Every kind of provider by the head of its column; a row with policies of its own is a kind of its own."""
    kinds: dict[str, Policies] = {"OpenAI-compatible": SAME_WIRE}
    kinds |= {f"`{row.name}`": row.policies for row in ROWS if row.policies != SAME_WIRE}
    kinds["`custom`"] = POLICIES
    return {head: Parameters(head, policies, "forward") for head, policies in kinds.items()}


def _section(operation: str, adapters: dict[str, Parameters]) -> str:
    return "\n".join([f"## {operation}", "", *_table(operation, adapters), ""])


def _table(operation: str, adapters: dict[str, Parameters]) -> Iterator[str]:
    columns = [adapter.policies(operation) for adapter in adapters.values()]
    yield f"| Field | {' | '.join(adapters)} |"
    yield "|---" * (len(adapters) + 1) + "|"
    for field in sorted(columns[0]):
        yield f"| `{field}` | {' | '.join(column[field] for column in columns)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
