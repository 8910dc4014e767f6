"""What an endpoint is asked about a clip, and the only form in which its answer is taken."""

import unicodedata
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from infra.manifest import digest

UNCLEAR = "unclear"
INSTRUCTIONS = """You describe recordings of speech for people who cannot hear them.
Listen to the whole recording. Describe how it sounds, not what is said: the voice, its pitch and pace, the manner of \
speaking, the emotion that can be heard, the room, and the background.
`long` is one or two English sentences, `short` at most ten English words. For every other field choose the value that \
fits; choose "unclear" wherever you cannot hear it. `language` is the ISO 639-1 code of the language that is spoken.
Do not guess who speaks. Do not repeat the words that are spoken. Answer with JSON only."""
QUESTION = "Describe this recording."


class Answer(BaseModel):
    """A caption as the endpoint gives it. Unknown keys, other words and other lengths are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    long: str = Field(min_length=10, max_length=800)
    short: str = Field(min_length=3, max_length=160)
    pitch: Literal["low", "medium", "high", "unclear"]
    rate: Literal["slow", "medium", "fast", "unclear"]
    background: Literal["quiet", "some", "loud", "unclear"]
    language: str = Field(pattern=r"^([a-z]{2,3}|unclear)$")
    voice: Literal["male", "female", "child", "several", "unclear"]
    age: Literal["child", "young", "adult", "old", "unclear"]
    room: Literal["dry", "some", "reverberant", "unclear"]
    emotion: Literal[
        "neutral", "calm", "happy", "excited", "surprised", "sad", "angry", "fearful", "disgusted", "other", "unclear"
    ]

    @field_validator("long", "short")
    @classmethod
    def one_line(cls, text: str) -> str:
        """Without line breaks and signs that are not seen: a backbone reads it as it is."""
        return " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in text).split())

    @property
    def tags(self) -> tuple[str, ...]:
        """`pitch:low`, `voice:male` ...: what is claimed, without what is unclear."""
        told = self.model_dump(exclude={"long", "short"})
        return tuple(f"{aspect}:{value}" for aspect, value in told.items() if value != UNCLEAR)


def json_schema() -> dict[str, Any]:
    """The schema of an answer, in keys that both styles know; lengths and patterns are checked on this side alone."""
    properties = {}
    for name, told in Answer.model_json_schema()["properties"].items():
        properties[name] = {key: told[key] for key in ("type", "enum") if key in told}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def prompt_digest() -> str:
    """Of all that is asked and of the form of the answer: another prompt is another question to the cache."""
    return digest([INSTRUCTIONS, QUESTION, Answer.model_json_schema()])[:12]
