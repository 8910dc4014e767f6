"""The two ways in which endpoints are spoken to: OpenAI's chat completions, and Gemini's generateContent."""

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from pipelines.captions.answer import INSTRUCTIONS, QUESTION, Answer, json_schema
from pipelines.row import Wave

OPENAI_COUNTS = ("prompt_tokens", "completion_tokens")
Style = Literal["openai", "gemini"]
CONTAINERS = {"openai": "WAV", "gemini": "FLAC"}
"""What each takes: OpenAI's input_audio knows wav and mp3 only."""


class BadAnswerError(ValueError):
    """An answer that is not what was asked for; asked again, the endpoint may do better."""


@dataclass(frozen=True)
class Usage:
    """What the endpoint says it counted; 0 where it says nothing."""

    tokens_in: int = 0
    tokens_out: int = 0


def request(
    style: Style, *, url: str, model: str, key: str | None, wave_S: Wave, rate_hz: int, max_tokens: int
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Address, headers and body of the question about a waveform; the key is in the headers only."""
    audio = base64.b64encode(encoded(wave_S, rate_hz=rate_hz, container=CONTAINERS[style])).decode()
    base = url.rstrip("/")
    if style == "openai":
        headers = {"authorization": f"Bearer {key}"} if key else {}
        content = [
            {"type": "text", "text": QUESTION},
            {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}},
        ]
        form = {"name": "caption", "strict": True, "schema": json_schema()}
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": content}],
            "response_format": {"type": "json_schema", "json_schema": form},
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        return f"{base}/chat/completions", headers, body
    headers = {"x-goog-api-key": key} if key else {}
    schema = {name: value for name, value in json_schema().items() if name != "additionalProperties"}
    body = {
        "systemInstruction": {"parts": [{"text": INSTRUCTIONS}]},
        "contents": [
            {"role": "user", "parts": [{"text": QUESTION}, {"inlineData": {"mimeType": "audio/flac", "data": audio}}]}
        ],
        "generationConfig": {
            "temperature": 0,
            "maxOutputTokens": max_tokens,
            "responseMimeType": "application/json",
            "responseSchema": schema,
        },
    }
    return f"{base}/models/{model}:generateContent", headers, body


def encoded(wave_S: Wave, *, rate_hz: int, container: str) -> bytes:
    """16-bit mono."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave_S, rate_hz, format=container, subtype="PCM_16")
    return file.getvalue()


def answer(style: Style, body: bytes) -> tuple[Answer, Usage]:
    """The caption in the body of a reply, and what it used.

    Raises: BadAnswerError, a sentence without line breaks.
    """
    try:
        reply = json.loads(body)
        text, usage = openai_text(reply) if style == "openai" else gemini_text(reply)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadAnswerError(f"its reply has not the form of {style}: {type(error).__name__}: {error}") from None
    try:
        return Answer.model_validate_json(text), usage
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise BadAnswerError(f"its answer is not what was asked for: {place}: {first['msg']}") from None


def openai_text(reply: Mapping[str, Any]) -> tuple[str, Usage]:
    """The message of the first choice."""
    message = reply["choices"][0]["message"]
    if message.get("refusal"):
        raise BadAnswerError(f"it refuses: {str(message['refusal'])[:120]}")
    return str(message["content"]), Usage(*(count(reply.get("usage"), name) for name in OPENAI_COUNTS))


def gemini_text(reply: Mapping[str, Any]) -> tuple[str, Usage]:
    """The text parts of the first candidate."""
    blocked = (reply.get("promptFeedback") or {}).get("blockReason")
    if blocked:
        raise BadAnswerError(f"it refuses: {str(blocked)[:120]}")
    parts = reply["candidates"][0]["content"]["parts"]
    text = "".join(str(part["text"]) for part in parts if "text" in part and not part.get("thought"))
    used = reply.get("usageMetadata")
    out = count(used, "candidatesTokenCount") + count(used, "thoughtsTokenCount")
    return text, Usage(count(used, "promptTokenCount"), out)


def count(used: object, name: str) -> int:
    """A count of tokens; 0 where what is said is none: an answer is not lost for it, and no budget grows by it."""
    value = used.get(name) if isinstance(used, Mapping) else None
    return max(0, value) if isinstance(value, int) else 0
