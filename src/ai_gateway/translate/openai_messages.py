"""A message of a chat request, of any role: the contract lists the kinds, but names no type for all of them."""

from gateway_contract.openai import models

type Message = (
    models.ChatCompletionRequestDeveloperMessage
    | models.ChatCompletionRequestSystemMessage
    | models.ChatCompletionRequestUserMessage
    | models.ChatCompletionRequestAssistantMessage
    | models.ChatCompletionRequestToolMessage
    | models.ChatCompletionRequestFunctionMessage
)
