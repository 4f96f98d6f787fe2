"""Parameter policies for Ollama's own API.

Fields about the caller or the speed of service are dropped; fields that would change the answer are refused. Some
values of mapped fields are not supported either: the translation refuses or drops those by name.
"""

from typing import Final

from gateway_contract.openai.parameters import Policies

OLLAMA: Final[Policies] = {
    "createChatCompletion": {
        "metadata": "dropped",
        "top_logprobs": "mapped",
        "temperature": "mapped",
        "top_p": "mapped",
        "user": "dropped",
        "safety_identifier": "dropped",
        "prompt_cache_key": "dropped",
        "prompt_cache_retention": "dropped",
        "prompt_cache_options": "dropped",
        "messages": "mapped",
        "model": "mapped",
        "service_tier": "dropped",
        "modalities": "mapped",
        "verbosity": "dropped",
        "reasoning_effort": "mapped",
        "max_completion_tokens": "mapped",
        "frequency_penalty": "mapped",
        "presence_penalty": "mapped",
        "web_search_options": "refused",
        "response_format": "mapped",
        "audio": "dropped",
        "store": "dropped",
        "moderation": "refused",
        "stream": "mapped",
        "stop": "mapped",
        "logit_bias": "dropped",
        "logprobs": "mapped",
        "max_tokens": "mapped",
        "n": "mapped",
        "prediction": "dropped",
        "seed": "mapped",
        "stream_options": "mapped",
        "tools": "mapped",
        "tool_choice": "mapped",
        "parallel_tool_calls": "mapped",
        "function_call": "refused",
        "functions": "refused",
    },
    "createCompletion": {
        "model": "mapped",
        "prompt": "mapped",
        "best_of": "mapped",
        "echo": "mapped",
        "frequency_penalty": "mapped",
        "logit_bias": "dropped",
        "logprobs": "mapped",
        "max_tokens": "mapped",
        "n": "mapped",
        "presence_penalty": "mapped",
        "seed": "mapped",
        "stop": "mapped",
        "stream": "mapped",
        "stream_options": "mapped",
        "suffix": "mapped",
        "temperature": "mapped",
        "top_p": "mapped",
        "user": "dropped",
    },
    "createEmbedding": {
        "input": "mapped",
        "model": "mapped",
        "encoding_format": "mapped",
        "dimensions": "mapped",
        "user": "dropped",
    },
}
