"""Two providers as rows of data; what answers for them is imported only when they are configured."""

from ai_gateway.plugin import ProviderRow, Quirks

# An upstream that speaks OpenAI's wire is data and nothing else. It is configured when ACME_API_KEY is set.
ACME = ProviderRow(
    "acme",
    "https://api.acme.example.com/v1",
    "ACME_API_KEY",
    quirks=Quirks(headers={"X-Client": "gateway"}, renamed={"max_completion_tokens": "max_tokens"}),
)

# Anything else names the class that speaks its wire. This one needs neither key nor URL: installing it is enough.
PARROT = ProviderRow("parrot", "", "", needs_key=False, always=True, adapter="gateway_parrot.provider:Parrot")
