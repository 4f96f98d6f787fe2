"""Parts of a message's content in the form of chat completions."""

from collections.abc import Sequence

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

type Part = (
    responses.InputTextContent
    | responses.InputTextContentParam
    | responses.InputImageContent
    | responses.InputImageContentParamAutoParam
    | responses.InputFileContent
    | responses.InputFileContentParam
    | responses.SaidTextContent
    | responses.SaidRefusalContent
    | responses.OutputTextContent
    | responses.RefusalContent
)
type TextPart = openai.ChatCompletionRequestMessageContentPartText
type MediaPart = (
    openai.ChatCompletionRequestMessageContentPartImage | openai.ChatCompletionRequestMessageContentPartFile
)
type UserPart = TextPart | MediaPart
type AssistantPart = TextPart | openai.ChatCompletionRequestMessageContentPartRefusal

_TEXTS = (
    responses.InputTextContent,
    responses.InputTextContentParam,
    responses.SaidTextContent,
    responses.OutputTextContent,
)


def text_part(text: str) -> TextPart:
    """A text part."""
    return openai.ChatCompletionRequestMessageContentPartText(type="text", text=text)


def user_parts(content: Sequence[Part], path: str) -> list[UserPart]:
    """The parts of a user's message. Raises UnsupportedValue for other content."""
    return [_user_part(part, f"{path}[{at}]") for at, part in enumerate(content)]


def system_parts(content: Sequence[Part], path: str) -> list[TextPart]:
    """The texts of a system or developer message."""
    return [_only_text(part, f"{path}[{at}]") for at, part in enumerate(content)]


def assistant_parts(content: Sequence[Part], path: str) -> list[AssistantPart]:
    """The parts of an assistant's message."""
    return [
        openai.ChatCompletionRequestMessageContentPartRefusal(type="refusal", refusal=part.refusal)
        if isinstance(part, responses.SaidRefusalContent | responses.RefusalContent)
        else _only_text(part, f"{path}[{at}]")
        for at, part in enumerate(content)
    ]


def plain[Any](parts: Sequence[Any]) -> str | list[Any]:
    """The content as a string if it is one text: not every server accepts parts."""
    if not parts:
        return ""
    first = parts[0]
    bare = (
        isinstance(first, openai.ChatCompletionRequestMessageContentPartText) and first.prompt_cache_breakpoint is None
    )
    return first.text if bare and len(parts) == 1 else [*parts]  # type: ignore[attr-defined] # it is a text


def _only_text(part: Part, path: str) -> TextPart:
    if isinstance(part, _TEXTS):
        return _text(part)
    raise UnsupportedValue("Only texts can stand here: send images and files in a message of the user.", param=path)


def _text(
    part: responses.InputTextContent
    | responses.InputTextContentParam
    | responses.SaidTextContent
    | responses.OutputTextContent,
) -> TextPart:
    return _marked(text_part(part.text), part)


def _user_part(part: Part, path: str) -> UserPart:
    match part:
        case responses.InputImageContent() | responses.InputImageContentParamAutoParam():
            return _image(part, path)
        case responses.InputFileContent() | responses.InputFileContentParam():
            return _file(part, path)
        case _:
            return _only_text(part, path)


def _image(
    part: responses.InputImageContent | responses.InputImageContentParamAutoParam, path: str
) -> openai.ChatCompletionRequestMessageContentPartImage:
    if not part.image_url:
        raise UnsupportedValue(
            "This provider gets images with the request only: send `image_url`, a URL or a data: URL.",
            param=f"{path}.file_id" if part.file_id else f"{path}.image_url",
        )
    image = openai.ChatCompletionRequestMessageContentPartImageImageUrl(url=part.image_url)
    if part.detail is not None:
        image.detail = "high" if part.detail == "original" else part.detail  # the highest detail of chat completions
    made = openai.ChatCompletionRequestMessageContentPartImage(type="image_url", image_url=image)
    return _marked(made, part)


def _file(
    part: responses.InputFileContent | responses.InputFileContentParam, path: str
) -> openai.ChatCompletionRequestMessageContentPartFile:
    if part.file_url:
        raise UnsupportedValue("This provider fetches no files: send `file_data`.", param=f"{path}.file_url")
    if not part.file_data and not part.file_id:
        raise InvalidRequest(
            "There is no file here: send `file_data`.", param=f"{path}.file_data", code="missing_required_parameter"
        )
    named = {name: getattr(part, name) for name in ("filename", "file_data", "file_id")}
    file = openai.ChatCompletionRequestMessageContentPartFileFile(
        **{name: value for name, value in named.items() if value is not None}
    )
    return _marked(openai.ChatCompletionRequestMessageContentPartFile(type="file", file=file), part)


def _marked[
    Made: (
        TextPart,
        openai.ChatCompletionRequestMessageContentPartImage,
        openai.ChatCompletionRequestMessageContentPartFile,
    )
](made: Made, part: Part) -> Made:
    """The part with the cache breakpoint of its original."""
    mark = getattr(part, "prompt_cache_breakpoint", None)
    if mark is not None:
        made.prompt_cache_breakpoint = openai.PromptCacheBreakpointParam.model_validate(
            mark.model_dump(exclude_unset=True)
        )
    return made
