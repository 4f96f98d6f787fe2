"""A program of LangChain's against a live gateway, as its users write it; prints what it got as JSON.

The address and the key come from the environment.
"""

import json
import os
import sys

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import BaseModel

URL = os.environ.get("GATEWAY_URL", "")
ACCESS = {"headers": {"Authorization": f"Bearer {os.environ.get('GATEWAY_KEY')}"}}


class Answer(BaseModel):
    title: str
    score: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return city


def main() -> None:
    model = ChatOllama(model="custom-chat", base_url=URL, client_kwargs=ACCESS, validate_model_on_init=True)
    short = ChatOllama(model="custom-chat", base_url=URL, client_kwargs=ACCESS, temperature=0, num_predict=20)
    chat = short.invoke("Tell me about the tides.")
    tools = model.bind_tools([get_weather])
    asked = HumanMessage("Use get_weather for Oslo.")
    called = tools.invoke([asked])
    assert isinstance(called, AIMessage)
    result = ToolMessage("rain", tool_call_id=called.tool_calls[0]["id"])
    structure = model.with_structured_output(Answer).invoke("Rate it.")
    assert isinstance(structure, Answer)
    embeddings = OllamaEmbeddings(model="custom-embedding", base_url=URL, client_kwargs=ACCESS)
    found = {
        "chat": chat.content,
        "reason": chat.response_metadata["done_reason"],
        "tokens": chat.usage_metadata and chat.usage_metadata["output_tokens"],
        "pieces": [piece.content for piece in model.stream("Tell me about the tides.")],
        "called": called.tool_calls[0]["name"],
        "after": tools.invoke([asked, called, result]).content,
        "structure": structure.model_dump(),
        "vectors": [vector[:2] for vector in embeddings.embed_documents(["a", "b"])],
        "completion": OllamaLLM(model="custom-chat", base_url=URL, client_kwargs=ACCESS).invoke("Hello"),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
