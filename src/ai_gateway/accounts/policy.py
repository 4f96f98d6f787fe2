"""The operator's policy for calls whose cost is unknown or cannot be counted."""

from dataclasses import dataclass
from typing import Literal

type Unpriced = Literal["refuse", "flag", "allow"]
type Outage = Literal["closed", "open"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy for unknown prices, unavailable counters and unbounded requests.

    `unpriced` is for models without a price under a spend limit. `outage` is for money while the counters are
    unavailable: other limits are then counted locally, a share for each replica. `output_tokens` is the assumed maximum
    output where nothing limits it, and `input_tokens` the assumed maximum input where the request's size does not.
    `divided` says that replicas share a store but no counters: each counts its share of a limit, and money cannot be
    counted.
    """

    unpriced: Unpriced = "refuse"
    outage: Outage = "closed"
    replicas: int = 1
    output_tokens: int = 131_072
    input_tokens: int = 1_048_576
    divided: bool = False
