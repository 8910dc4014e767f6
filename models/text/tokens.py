"""Text as token ids: special tokens, templates, the layouts of training, and a tokenizer that needs no download."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.backbone.config import StreamingConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Layout = Literal["plain", "interleaved"]

AUDIO_START, AUDIO_SPAN, AUDIO_END = "<|audio_gen_start|>", "<|audio_gen_span|>", "<|audio_gen_end|>"
TEXT_END, END = "<|text_cond_end|>", "<|endoftext|>"
SPECIAL_TOKENS = (
    "<|audio_comp_start|>",
    "<|audio_comp_span|>",
    "<|audio_comp_end|>",
    AUDIO_START,
    AUDIO_SPAN,
    AUDIO_END,
    TEXT_END,
)
"""Added to the base vocabulary, in this order."""

TEMPLATES = {
    "tts": ("[文本]", "[文本对应语音]"),
    "instruction_tts": ("[带指令文本]", "[文本对应语音]"),
    "text_to_audio": ("[声音描述]", "[描述对应声音]"),
}
"""What stands before and after the text; each is tokenized on its own."""
INTERLEAVED_TEMPLATE = "tts_interleave"
INTERLEAVED = "[流式语音合成]"
"""What stands before text and patches that alternate."""


@dataclass(frozen=True)
class Specials:
    """Ids of the tokens that structure a sequence."""

    audio_start: int
    audio_span: int
    audio_end: int
    text_end: int
    end: int


@dataclass(frozen=True)
class Example:
    """One utterance as the LLM is trained on it; all three are equally long."""

    ids: list[int]
    audio: list[bool]
    """Placeholders: where a patch's embedding stands. As many as the utterance has patches."""
    speaks: list[bool]
    """Positions whose hidden state makes the next patch. As many as the utterance has patches."""


def specials(tokenizer: "PreTrainedTokenizerBase") -> Specials:
    """Raises: ValueError naming the special tokens that the tokenizer lacks."""
    find = tokenizer.backend_tokenizer.token_to_id  # `get_vocab` copies it whole: 90 ms for 151,643 tokens
    names = (AUDIO_START, AUDIO_SPAN, AUDIO_END, TEXT_END, tokenizer.eos_token or END)
    if missing := [name for name in names if find(name) is None]:
        raise ValueError(f"the tokenizer lacks {', '.join(missing)}; add them to its vocabulary")
    return Specials(*(int(find(name)) for name in names))


def encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Ids of plain text, nothing added; a token with a name that is spelled out in it stays plain text."""
    backend = tokenizer.backend_tokenizer
    normal = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
    return [token for piece, _, _ in pieces(backend, normal) for token in piece_ids(backend, piece)]


def pieces(backend: "Tokenizer", text: str) -> list[tuple[str, int, int]]:
    """What no token crosses, in the alphabet of the tokens, with start and end in the (normalized) text."""
    if not text:
        return []
    if backend.pre_tokenizer is None:
        return [(text, 0, len(text))]
    return [(piece, start, end) for piece, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text)]


def piece_ids(backend: "Tokenizer", piece: str) -> list[int]:
    """Ids of one piece."""
    return [int(token.id) for token in backend.model.tokenize(piece)]


def template_parts(name: str) -> tuple[str, str]:
    """Raises: ValueError for an unknown template."""
    if name not in TEMPLATES:
        raise ValueError(f"unknown template {name!r}; there are: {', '.join([*TEMPLATES, INTERLEAVED_TEMPLATE])}")
    return TEMPLATES[name]


def prefix(tokenizer: "PreTrainedTokenizerBase", text: str, *, template: str = "tts") -> list[int]:
    """Everything before the first patch: template, text, and the token that starts the audio."""
    before, after = template_parts(template)
    parts = [part for piece in (before, text, after) for part in encode(tokenizer, piece)]
    return [*parts, specials(tokenizer).audio_start]


def before_patches(tokenizer: "PreTrainedTokenizerBase", text: str, *, template: str = "tts") -> Iterator[list[int]]:
    """What is read before patch 0, 1, 2, ..., without end: all of the text at once, or (interleaved) a token a patch.

    Raises: ValueError for an unknown template.
    """
    if template != INTERLEAVED_TEMPLATE:
        yield prefix(tokenizer, text, template=template)
    else:
        words = [*encode(tokenizer, text), specials(tokenizer).text_end]
        yield [*encode(tokenizer, INTERLEAVED), words[0]]
        for word in words[1:]:
            yield [word]
    while True:
        yield []


def training_example(
    tokenizer: "PreTrainedTokenizerBase",
    text: str,
    *,
    patches: int,
    layout: Layout = "plain",
    template: str = "tts",
    streaming: StreamingConfig | None = None,
) -> Example:
    """One utterance for training: text and placeholders up to the end token, which is only ever predicted.

    Raises: ValueError for an utterance without a patch.
    """
    if patches < 1:
        raise ValueError("an utterance needs at least one patch (0.16 s) of audio")
    special = specials(tokenizer)
    if layout == "plain":
        full = [*prefix(tokenizer, text, template=template), *[special.audio_span] * patches, special.audio_end]
    else:
        spans = [*[special.audio_span] * patches, special.audio_end]
        order = alternate(
            encode(tokenizer, text), spans, end=special.text_end, streaming=streaming or StreamingConfig()
        )
        full = [*encode(tokenizer, INTERLEAVED), *order]
    full = [*full, special.end]
    is_span = [token == special.audio_span for token in full]
    return Example(full[:-1], is_span[:-1], is_span[1:])


def quotas(streaming: StreamingConfig) -> Iterator[int]:
    """How many text tokens are read before patch 0, 1, 2, ..."""
    if streaming.interleave_mode == "one_to_one":
        while True:
            yield 1
    yield 3 if streaming.initial_lookahead is None else streaming.initial_lookahead
    for _ in range(streaming.warmup_ta):
        yield 1
    while True:
        yield from [1] * streaming.ta_per_tta
        yield 2


def alternate(words: Sequence[int], spans: Sequence[int], *, end: int, streaming: StreamingConfig) -> list[int]:
    """Text tokens and placeholders in the order of double streaming; what is left of either comes last.

    `end`, which says that there is no more text, stands alone before the first placeholder that no text is left for.
    """
    out: list[int] = []
    read, ended = 0, False
    for span, quota in zip(spans, quotas(streaming), strict=False):
        if read < len(words):
            out += words[read : read + quota]
            read += quota
        elif not ended:
            out.append(end)
            ended = True
        out.append(span)
    return [*out, *words[read:], *([] if ended else [end])]


def byte_tokenizer() -> "PreTrainedTokenizerBase":
    """A tokenizer of the official kind without merges: one token a byte, then the special tokens.

    `save_pretrained` writes it; `AutoTokenizer.from_pretrained(..., local_files_only=True)` reads it back.
    """
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Qwen2Tokenizer(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    return tokenizer
