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

OWN_NAMES: dict[str, str] = {
    "af": "南非荷兰语", "am": "አማርኛ 阿姆哈拉语", "ar": "العربية 阿拉伯语", "as": "অসমীয়া 阿萨姆语",
    "az": "azərbaycan 阿塞拜疆语", "ba": "巴什基尔语", "be": "беларуская 白俄罗斯语",
    "bg": "български 保加利亚语", "bn": "বাংলা 孟加拉语", "bo": "བོད་སྐད་ 藏语", "br": "brezhoneg 布列塔尼语",
    "bs": "bosanski 波斯尼亚语", "ca": "català 加泰罗尼亚语", "cs": "čeština 捷克语", "cy": "cymraeg 威尔士语",
    "da": "dansk 丹麦语", "de": "德语", "el": "ελληνικά 希腊语", "en": "英语 英語 英文", "eo": "世界语",
    "es": "西班牙语", "et": "eesti 爱沙尼亚语", "eu": "euskara 巴斯克语", "fa": "فارسی 波斯语",
    "fi": "suomi 芬兰语", "fil": "菲律宾语", "fo": "føroyskt 法罗语", "fr": "法语", "fy": "frysk 西弗里西亚语",
    "ga": "gaeilge 爱尔兰语", "gd": "gàidhlig 苏格兰盖尔语", "gl": "galego 加利西亚语",
    "gu": "ગુજરાતી 古吉拉特语", "ha": "豪萨语", "haw": "夏威夷语", "he": "עברית 希伯来语",
    "hi": "हिन्दी 印地语", "hr": "hrvatski 克罗地亚语", "ht": "海地克里奥尔语", "hu": "magyar 匈牙利语",
    "hy": "հայերեն 亚美尼亚语", "id": "印度尼西亚语", "ig": "伊博语", "is": "íslenska 冰岛语", "it": "意大利语",
    "jv": "爪哇语", "ka": "ქართული 格鲁吉亚语", "kk": "哈萨克语", "km": "ខ្មែរ 高棉语", "kn": "ಕನ್ನಡ 卡纳达语",
    "ku": "库尔德语", "ky": "кыргызча 柯尔克孜语", "la": "拉丁语", "lb": "lëtzebuergesch 卢森堡语",
    "lg": "卢干达语", "ln": "lingála 林加拉语", "lo": "ລາວ 老挝语", "lt": "lietuvių 立陶宛语",
    "lv": "latviešu 拉脱维亚语", "mg": "马拉加斯语", "mi": "māori 毛利语", "mk": "македонски 马其顿语",
    "ml": "മലയാളം 马拉雅拉姆语", "mn": "монгол 蒙古语", "mr": "मराठी 马拉地语", "ms": "马来语",
    "mt": "malti 马耳他语", "my": "မြန်မာ 缅甸语", "ne": "नेपाली 尼泊尔语", "nl": "nederlands 荷兰语",
    "no": "norsk 挪威语", "nb": "书面挪威语", "nn": "挪威尼诺斯克语", "oc": "奥克语", "om": "oromoo 奥罗莫语",
    "or": "ଓଡ଼ିଆ 奥里亚语", "pa": "ਪੰਜਾਬੀ 旁遮普语", "pl": "polski 波兰语", "ps": "پښتو 普什图语",
    "pt": "葡萄牙语", "ro": "română 罗马尼亚语", "ru": "俄语", "rw": "ikinyarwanda 卢旺达语", "sa": "梵语",
    "sd": "سنڌي 信德语", "si": "සිංහල 僧伽罗语", "sk": "slovenčina 斯洛伐克语",
    "sl": "slovenščina 斯洛文尼亚语", "sn": "chishona 绍纳语", "so": "soomaali 索马里语",
    "sq": "shqip 阿尔巴尼亚语", "sr": "српски 塞尔维亚语", "su": "巽他语", "sv": "svenska 瑞典语",
    "sw": "kiswahili 斯瓦希里语", "ta": "தமிழ் 泰米尔语", "te": "తెలుగు 泰卢固语", "tg": "тоҷикӣ 塔吉克语",
    "th": "ไทย 泰语", "tk": "土库曼语", "tlh": "克林贡语", "tr": "türkçe 土耳其语", "tt": "татар 鞑靼语",
    "ug": "ئۇيغۇرچە 维吾尔语", "uk": "українська 乌克兰语", "ur": "اردو 乌尔都语", "uz": "乌兹别克语",
    "vi": "越南语", "wo": "沃洛夫语", "xh": "isixhosa 科萨语", "yi": "ייִדיש 意第绪语", "yo": "约鲁巴语",
    "yue": "粵語", "zu": "isizulu 祖鲁语", "ja": "日文", "ko": "韩文",
}  # fmt: skip
"""Code -> its names in the language itself and in Chinese, those that langcodes 3.5 reads as that code."""

CODES = {name: code for table in (NAMES, OWN_NAMES) for code, names in table.items() for name in names.split()}


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
