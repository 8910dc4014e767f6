"""Language tags: what a user calls a language, as the tag that the model was trained with."""

import re

from models.text.codes import BETTER, NO_LANGUAGE, WHOLE

ACCENT = "口音:"
CANTONESE = "[口音:粤语]"

NAMES: dict[str, str] = {
    "af": "afrikaans", "am": "amharic", "ar": "arabic", "as": "assamese", "az": "azerbaijani", "ba": "bashkir",
    "be": "belarusian", "bg": "bulgarian", "bn": "bengali bangla", "bo": "tibetan", "br": "breton", "bs": "bosnian",
    "ca": "catalan valencian", "cs": "czech", "cy": "welsh", "da": "danish", "de": "german deutsch", "el": "greek",
    "en": "english", "eo": "esperanto", "es": "spanish castilian español", "et": "estonian", "eu": "basque",
    "fa": "persian farsi", "fi": "finnish", "fil": "filipino tagalog pilipino", "fo": "faroese",
    "fr": "french français", "fy": "frisian", "ga": "irish", "gd": "gaelic", "gl": "galician", "gu": "gujarati",
    "ha": "hausa", "haw": "hawaiian", "he": "hebrew", "hi": "hindi", "hr": "croatian", "ht": "haitian",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "ig": "igbo", "is": "icelandic", "it": "italian italiano",
    "ja": "japanese 日本語 日语", "jv": "javanese", "ka": "georgian", "kk": "kazakh", "km": "khmer", "kn": "kannada",
    "ko": "korean 한국어 韩语", "ku": "kurdish", "ky": "kyrgyz kirghiz", "la": "latin", "lb": "luxembourgish",
    "lg": "ganda luganda", "ln": "lingala", "lo": "lao", "lt": "lithuanian", "lv": "latvian", "mg": "malagasy",
    "mi": "maori", "mk": "macedonian", "ml": "malayalam", "mn": "mongolian", "mr": "marathi", "ms": "malay",
    "mt": "maltese", "my": "burmese myanmar", "ne": "nepali", "nl": "dutch flemish", "no": "norwegian",
    "nb": "bokmål", "nn": "nynorsk", "oc": "occitan", "om": "oromo", "or": "odia oriya", "pa": "punjabi panjabi",
    "pl": "polish", "ps": "pashto", "pt": "portuguese português", "ro": "romanian moldovan", "ru": "russian русский",
    "rw": "kinyarwanda", "sa": "sanskrit", "sd": "sindhi", "si": "sinhala sinhalese", "sk": "slovak", "sl": "slovenian",
    "sn": "shona", "so": "somali", "sq": "albanian", "sr": "serbian", "su": "sundanese", "sv": "swedish",
    "sw": "swahili", "ta": "tamil", "te": "telugu", "tg": "tajik", "th": "thai", "tk": "turkmen",
    "tlh": "klingon", "tr": "turkish",
    "tt": "tatar", "ug": "uyghur uighur", "uk": "ukrainian", "ur": "urdu", "uz": "uzbek", "vi": "vietnamese",
    "wo": "wolof", "xh": "xhosa", "yi": "yiddish", "yo": "yoruba", "yue": "cantonese 粤语 廣東話 广东话",
    "zh": "chinese mandarin 中文 汉语 普通话", "zu": "zulu",
}  # fmt: skip
"""Code -> names that stand for it."""

CODES = {name: code for code, names in NAMES.items() for name in names.split()}


def language_tag(language: str | None) -> str | None:
    """The upper-case code of a language given by code or name, an accent (`口音:...`) as it is, None for no language.

    Raises: ValueError for what is neither a known name nor written like a code.
    """
    if language is None or language.strip().lower() in ("", "none"):
        return None
    given = language.strip()
    if given.startswith(ACCENT):
        return given
    word = given.lower().replace("_", "-")
    if word in CODES:
        return CODES[word].upper()
    code = word.split("-")[0]
    if not re.fullmatch(r"[a-z]{2,4}(-[a-z0-9]{1,8})*", word) or code in NO_LANGUAGE:
        raise ValueError(f"{language!r} is not a language that is known here; give a code such as EN, ZH or YUE")
    for whole, own in WHOLE.items():
        if f"{word}-".startswith(f"{whole}-"):
            return own.upper()
    return BETTER.get(code, code).upper()


def tagged(text: str, language: str | None) -> str:
    """The text with its language tag before it, if there is a language: `[EN]hello`, `[口音:粤语]...`."""
    tag = language_tag(language)
    if tag is None:
        return text
    written = CANTONESE if tag == "YUE" else f"[{tag}]"
    return text if text.startswith(written) else f"{written}{text}"
