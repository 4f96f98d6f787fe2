"""What the operator has decided for calls whose cost is not known or cannot be counted."""

from dataclasses import dataclass
from typing import Literal

type Unpriced = Literal["refuse", "flag", "allow"]
type Outage = Literal["closed", "open"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds where something is not known or out of reach.

    `unpriced` is for models without a price under a limit of money. `outage` is for money while the counters cannot be
    reached: other limits are then counted here, each replica its share. `output_tokens` is the most that a model is
    taken to put out, where neither the request nor anybody else limits it, and `input_tokens` the most that it is taken
    to read, where the bytes of the request do not tell. `divided` says that replicas share a store
    but no counters: each counts its share of a limit, and nobody could count money.
    """

    unpriced: Unpriced = "refuse"
    outage: Outage = "closed"
    replicas: int = 1
    output_tokens: int = 131_072
    input_tokens: int = 1_048_576
    divided: bool = False
