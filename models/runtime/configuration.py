"""The configuration of a bundle, out of its two files: every value checked by its type before it is used."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from models.runtime import files

if TYPE_CHECKING:
    from models.backbone.backbone import Backbone
    from models.backbone.config import ModelConfig

CONFIG, LLM_CONFIG = "config.json", "llm_config.json"
CHECKED_ELSEWHERE = ("initial_lookahead", "ta_per_tta", "warmup_ta")
"""Counts that only one of the two cadences reads: models.backbone.config.StreamingConfig looks at them."""
MAY_BE_ZERO = ("num_encoder_lookahead", "num_decoder_lookahead", *CHECKED_ELSEWHERE)
MUST_BE_POSITIVE = ("rotary_theta",)


def unusable(root: Path) -> str:
    """How a message about the two files begins."""
    return f"{root}: {CONFIG} or {LLM_CONFIG} cannot be used"


def read_config(root: Path) -> "ModelConfig":
    """The configuration; a key that the vocoder's block lacks has the default of an official loader.

    Raises: BundleError naming every value of the wrong type or sign.
    """
    from models.audiovae.config import OFFICIAL_DEFAULTS
    from models.backbone.config import ModelConfig

    raw, raw_llm = files.read_json(root / CONFIG), files.read_json(root / LLM_CONFIG)
    if wrong := wrong_values(raw):
        raise files.BundleError(f"{unusable(root)}: {'; '.join(wrong)}")
    with files.as_bundle_error(unusable(root)):
        raw["vocoder"] = {**OFFICIAL_DEFAULTS, **(raw.get("vocoder") or {})}
        return ModelConfig.from_dicts(raw, raw_llm)


def wrong_values(raw: Mapping[str, Any]) -> list[str]:
    """What config.json has that cannot be, a few words each: values of the wrong type or sign."""
    from models.backbone.config import TABLES, ModelConfig

    kinds = {"": ModelConfig, **{name: kind for name, (_, kind) in TABLES.items()}}
    blocks = {"": raw, **{name: raw[name] for name in TABLES if raw.get(name) is not None}}
    return [line for name, block in blocks.items() for line in problems(block, kinds[name], name)]


def problems(block: Any, kind: type, name: str) -> Iterator[str]:
    """What a table of config.json has that its fields cannot hold, a few words each."""
    if not isinstance(block, Mapping):
        yield f"{name} should be a table, but is {block!r}"
        return
    for key, hint in get_type_hints(kind).items():
        value = block.get(key)
        if value is None or get_origin(hint) is Mapping or isinstance(value, Mapping):
            continue
        path = f"{name}.{key}" if name else key
        if not holds(hint, value):
            yield f"{path} is {value!r}, which is not of its type"
        elif (hint is not float and isinstance(value, int | list) and key not in MAY_BE_ZERO and least(value) < 1) or (
            key in MUST_BE_POSITIVE and value <= 0
        ):  # a number with a fraction may be written without one: 0 for 0.0
            yield f"{path} is {value!r}, but must be positive"


def holds(hint: Any, value: Any) -> bool:
    """Whether a value of a JSON file can be that of a field with this type."""
    kinds = get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, list) and all(holds(kinds[0], item) for item in value)
    if get_origin(hint) is Literal:
        return isinstance(value, str)  # the field itself says which there are
    if kinds:
        return any(holds(kind, value) for kind in kinds if kind is not NoneType)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def least(value: Any) -> int:
    """The smallest whole number in a value; a flag has none."""
    if isinstance(value, list):
        return min((least(item) for item in value), default=0)
    return 1 if isinstance(value, bool) else int(value)


def check_llm(backbone: "Backbone") -> None:
    """What its configuration may say and the runtime does not have.

    Raises: ValueError.
    """
    config = backbone.llm.config
    if kinds := sorted({str(kind) for kind in config.layer_types} - {"full_attention"}):
        raise ValueError(f"layer_types has {', '.join(kinds)}, and no release has another than full_attention")
    if (rope := backbone.llm.model.rotary_emb.rope_type) != "default":
        raise ValueError(f"rope_type is {rope!r}, and no release has another than 'default'")
    config.return_dict = True  # how transformers hands over its results, which is read by name here
