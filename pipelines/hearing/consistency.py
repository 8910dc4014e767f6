"""How far texts of the same sound differ, and the marks of a text that nobody spoke. Pure functions, no network.

Thresholds: Curator and Granary (unique words, long word, characters a second, phrases, loops), Whisper (compression,
log probability, no speech). A text is compared in the form of `norm_form`.
"""

import zlib
from collections.abc import Sequence
from itertools import chain

from pipelines.hearing.texts import norm_form

NO_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})
"""Languages that are written without spaces between words: only characters can be counted."""
COMPOUNDING = frozenset(
    ("fi", "hu", "et", "tr", "de", "nl", "da", "sv", "no", "nb", "nn", "is", "eu", "ka", "ta", "te", "kn", "ml", "az")
    + ("kk", "ky", "uz", "mn", "zu", "xh", "sn", "lg", "rw", "mg", "qu")
)
"""Languages whose words are long by right."""
EDGE = 12
"""Characters at each end that are compared apart: there a cut or a lost word shows."""
MAX_UNIQUE_RATIO = 0.4
LONG_WORD, LONG_COMPOUND, LONG_BESIDE, TIMES_NEXT = 25, 35, 15, 3
MAX_CHARACTERS_PER_SECOND = 40.0
LOOP_WORDS, LOOP_TIMES = 10, 3
MAX_COMPRESSION = 2.4
MIN_LOG_PROBABILITY, MAX_NO_SPEECH = -1.0, 0.6
PHRASES = frozenset(
    norm_form(phrase)
    for phrase in (
        "Thank you for watching", "Thanks for watching", "Thank you so much for watching", "Like and subscribe",
        "Thank you very much for watching", "Please subscribe", "Subscribe to my channel",
        "See you in the next video", "Transcription by CastingWords", "Subtitles by the Amara.org community",
        "Translated by Amara.org community", "Untertitel der Amara.org-Community", "Vielen Dank fürs Zuschauen",
        "Untertitel im Auftrag des ZDF für funk", "Sous-titres réalisés par la communauté d'Amara.org",
        "Sous-titrage ST' 501", "Merci d'avoir regardé cette vidéo", "Gracias por ver el video",
        "Subtítulos realizados por la comunidad de Amara.org", "Legendas pela comunidade Amara.org",
        "¡Suscríbete al canal!", "Sottotitoli creati dalla comunità Amara.org", "Продолжение следует",
        "Napisy stworzone przez społeczność Amara.org", "Субтитры сделал DimaTorzok",
        "Редактор субтитров А.Синецкая Корректор А.Егорова", "字幕由Amara.org社区提供", "谢谢观看", "謝謝觀看",
        "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目", "感谢观看", "ご視聴ありがとうございました",
        "시청해주셔서 감사합니다", "MBC 뉴스 이덕영입니다",
    )
)  # fmt: skip
"""What recognizers of the Whisper family write over silence and music, learned from subtitles."""


def characters(text: str, *, language: str | None) -> str:
    """The text for comparing character by character; without spaces where the script has none."""
    norm = norm_form(text, language=language)
    return norm.replace(" ", "") if language in NO_SPACES else norm


def edits_over(heard: Sequence[str], target: Sequence[str]) -> float:
    """Edits from `heard` to `target`, over the length of `target`; 1 where something was heard and nothing said."""
    from rapidfuzz.distance import Levenshtein

    if not target:
        return 1.0 if heard else 0.0
    return float(Levenshtein.distance(heard, target)) / len(target)


def character_error_rate(heard: str, *, given: str, language: str | None = None) -> float:
    """Of `heard` against `given`, over the characters of `given`, both in the form for comparing."""
    return edits_over(characters(heard, language=language), characters(given, language=language))


def pairwise(texts: Sequence[str], *, language: str | None) -> list[list[float]]:
    """Character error rate of every text (column) against every text (row)."""
    forms = [characters(text, language=language) for text in texts]
    return [[edits_over(heard, target) for heard in forms] for target in forms]


def pairwise_words(texts: Sequence[str], *, language: str | None) -> list[list[float]] | None:
    """Word error rate of every text (column) against every text (row); None for scripts without spaces."""
    if language in NO_SPACES:
        return None
    forms = [norm_form(text, language=language).split() for text in texts]
    return [[edits_over(heard, target) for heard in forms] for target in forms]


def mean_of_pairs(matrix: Sequence[Sequence[float]]) -> float | None:
    """Mean of a matrix without its diagonal; None for less than two texts."""
    pairs = [value for row, values in enumerate(matrix) for column, value in enumerate(values) if row != column]
    return sum(pairs) / len(pairs) if pairs else None


def medoid(matrix: Sequence[Sequence[float]]) -> int:
    """The text that is nearest to all others; of equal ones the first."""
    return min(range(len(matrix)), key=lambda row: sum(matrix[row]) + sum(values[row] for values in matrix))


def edge_error_rate(heard: str, *, given: str, language: str | None = None) -> float:
    """The worse of both ends: edits over the first, or last, 12 characters of `given`.

    How much of `heard` belongs to the end is left to the best match, so that one insertion does not shift all after it.
    """
    from rapidfuzz.distance import Levenshtein

    target, other = characters(given, language=language), characters(heard, language=language)
    if not target:
        return 1.0 if other else 0.0
    rates = []
    for end, source in ((target[:EDGE], other), (target[::-1][:EDGE], other[::-1])):
        near = min(Levenshtein.distance(end, source[:length]) for length in range(min(len(source), 2 * EDGE) + 1))
        rates.append(near / len(end))
    return float(max(rates))


def length_ratio(heard: str, *, given: str, language: str | None = None) -> float:
    """Characters heard for each one given: far from 1 where a text is cut, or says more than the sound."""
    return len(characters(heard, language=language)) / max(1, len(characters(given, language=language)))


def compression_ratio(text: str) -> float:
    """Characters for each byte of the deflated text, as Whisper computes it where all are ASCII: above 2.4 it repeats.

    A character counts as a byte (as two, where there are over 256 of them), whatever its script: in UTF-8, as Whisper
    has it, those of India, Georgia and Burma have two or three, of which all but the last are alike, so that every text
    of some length would be over the limit.
    """
    place = {char: number for number, char in enumerate(dict.fromkeys(text))}
    width = 1 if len(place) <= 256 else 2
    data = text.encode() if text.isascii() else b"".join(place[char].to_bytes(width, "big") for char in text)
    return len(data) / len(zlib.compress(data)) if data else 0.0


def hallucinations(
    text: str,
    *,
    seconds: float,
    language: str | None,
    log_probability: float | None = None,
    no_speech: float | None = None,
) -> tuple[str, ...]:
    """Names of the rules by which the text looks made up: of words, of pace, of phrases, of the recognizer's doubts."""
    norm = norm_form(text, language=language)
    spaced = language not in NO_SPACES
    pieces = norm.split() if spaced else list(norm.replace(" ", ""))
    doubts = log_probability is not None and log_probability < MIN_LOG_PROBABILITY
    found = {
        "repeated_words": spaced and len(pieces) > 4 and len(set(pieces)) / len(pieces) <= MAX_UNIQUE_RATIO,
        "long_word": spaced and has_long_word(pieces, language=language),
        "too_fast": len(norm.replace(" ", "")) > MAX_CHARACTERS_PER_SECOND * seconds,
        "phrase": norm in PHRASES,
        "loop": has_loop(pieces, shortest=1 if spaced else 2),
        "compression": compression_ratio(text) > MAX_COMPRESSION,
        "no_speech": doubts and no_speech is not None and no_speech > MAX_NO_SPEECH,
        "unsure": doubts,
    }
    return tuple(name for name, applies in found.items() if applies)


def has_long_word(words: Sequence[str], *, language: str | None) -> bool:
    """A word longer than words are, or much longer than the next."""
    lengths = sorted((len(word) for word in words), reverse=True)
    if language in COMPOUNDING:
        return bool(lengths) and lengths[0] >= LONG_COMPOUND
    beside = len(lengths) > 1 and lengths[0] >= LONG_BESIDE and lengths[0] >= TIMES_NEXT * lengths[1]
    return bool(lengths) and (lengths[0] >= LONG_WORD or beside)


def has_loop(pieces: Sequence[str], *, shortest: int = 1) -> bool:
    """The same up to ten pieces more than three times in a row."""
    for size in range(shortest, LOOP_WORDS + 1):
        same = 0
        for at in range(size, len(pieces)):
            same = same + 1 if pieces[at] == pieces[at - size] else 0
            if same >= size * LOOP_TIMES:
                return True
    return False


def flat(matrix: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Row after row, four digits: as a segment stores it."""
    return tuple(round(value, 4) for value in chain.from_iterable(matrix))
