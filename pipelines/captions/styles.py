"""The two ways in which endpoints are spoken to: OpenAI's chat completions, and Gemini's generateContent."""

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pipelines.captions.answer import INSTRUCTIONS, QUESTION, Answer, json_schema
from pipelines.captions.settings import Endpoint, Style
from pipelines.row import Wave

OPENAI_COUNTS = ("prompt_tokens", "completion_tokens")
CONTAINERS = {"openai": "WAV", "gemini": "FLAC"}
"""What each takes: OpenAI's input_audio knows wav and mp3 only."""


class BadAnswerError(ValueError):
    """An answer that is not what was asked for; asked again, the endpoint may do better."""


@dataclass(frozen=True)
class Usage:
    """What the endpoint says it counted; 0 where it says nothing."""

    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Request:
    """The question about a waveform, ready to be sent."""

    url: str
    headers: Mapping[str, str]
    """The key is in these alone."""
    body: Mapping[str, Any]


def request(cfg: Endpoint, *, key: str | None, wave_S: Wave, rate_hz: int) -> Request:
    """What to send to the endpoint about a waveform."""
    audio = base64.b64encode(encoded(wave_S, rate_hz=rate_hz, container=CONTAINERS[cfg.style])).decode()
    return openai_request(cfg, key, audio) if cfg.style == "openai" else gemini_request(cfg, key, audio)


def openai_request(cfg: Endpoint, key: str | None, audio: str) -> Request:
    """`audio`: a WAV file in base64."""
    content = [
        {"type": "text", "text": QUESTION},
        {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}},
    ]
    form = {"name": "caption", "strict": True, "schema": json_schema()}
    body = {
        "model": cfg.model,
        "messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": content}],
        "response_format": {"type": "json_schema", "json_schema": form},
        "temperature": 0,
        "max_tokens": cfg.max_tokens,
    }
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return Request(f"{cfg.url.rstrip('/')}/chat/completions", headers, body)


def gemini_request(cfg: Endpoint, key: str | None, audio: str) -> Request:
    """`audio`: a FLAC file in base64."""
    schema = {name: value for name, value in json_schema().items() if name != "additionalProperties"}
    body = {
        "systemInstruction": {"parts": [{"text": INSTRUCTIONS}]},
        "contents": [
            {"role": "user", "parts": [{"text": QUESTION}, {"inlineData": {"mimeType": "audio/flac", "data": audio}}]}
        ],
        "generationConfig": {
            "temperature": 0,
            "maxOutputTokens": cfg.max_tokens,
            "responseMimeType": "application/json",
            "responseSchema": schema,
        },
    }
    headers = {"x-goog-api-key": key} if key else {}
    return Request(f"{cfg.url.rstrip('/')}/models/{cfg.model}:generateContent", headers, body)


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
