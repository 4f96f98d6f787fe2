"""Parameter policies for the Messages API, which has no completions and embeddings.

Fields that ask for output which it cannot produce are refused; fields that only tune the output, or matter to OpenAI
alone, are dropped. Single values and fields inside messages are judged in `translate/chat_anthropic/`.
"""

from typing import Final

from gateway_contract.openai.parameters import Policies

POLICIES: Final[Policies] = {
    "createChatCompletion": {
        "metadata": "dropped",
        "top_logprobs": "mapped",
        "temperature": "mapped",
        "top_p": "mapped",
        "user": "mapped",
        "safety_identifier": "mapped",
        "prompt_cache_key": "dropped",
        "prompt_cache_retention": "dropped",
        "prompt_cache_options": "dropped",
        "messages": "mapped",
        "model": "mapped",
        "service_tier": "mapped",
        "modalities": "mapped",
        "verbosity": "dropped",
        "reasoning_effort": "mapped",
        "max_completion_tokens": "mapped",
        "frequency_penalty": "dropped",
        "presence_penalty": "dropped",
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
        "seed": "dropped",
        "stream_options": "mapped",
        "tools": "mapped",
        "tool_choice": "mapped",
        "parallel_tool_calls": "mapped",
        "function_call": "refused",
        "functions": "refused",
    },
    "createCompletion": {
        "model": "refused",
        "prompt": "refused",
        "best_of": "refused",
        "echo": "refused",
        "frequency_penalty": "refused",
        "logit_bias": "refused",
        "logprobs": "refused",
        "max_tokens": "refused",
        "n": "refused",
        "presence_penalty": "refused",
        "seed": "refused",
        "stop": "refused",
        "stream": "refused",
        "stream_options": "refused",
        "suffix": "refused",
        "temperature": "refused",
        "top_p": "refused",
        "user": "refused",
    },
    "createEmbedding": {
        "input": "refused",
        "model": "refused",
        "encoding_format": "refused",
        "dimensions": "refused",
        "user": "refused",
    },
}
