"""A gateway that speaks OpenAI's API in front of any LLM provider."""
