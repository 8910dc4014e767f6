"""What decides the shape of a model: config.json and llm_config.json of an official directory, as frozen facts."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, Self

from models.audiovae.config import AudioVAEConfig

ARCHITECTURE: dict[str, Any] = {"architectures": ["DotsTTSForConditionalGeneration"], "model_type": "dots_tts"}
"""What an official writer adds to config.json."""


class Block:
    """A table of config.json: official keys are fields; unknown keys are kept in `extra`, so that saving loses none."""

    extra: Mapping[str, Any]

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """Read the table; a missing or null key takes the official default."""
        known = {item.name for item in fields(cls)} - {"extra"}  # type: ignore[arg-type]
        values = {key: value for key, value in table.items() if key in known and value is not None}
        extra = {key: value for key, value in table.items() if key not in known}
        return cls(**values, extra=extra)  # type: ignore[call-arg]

    def to_dict(self) -> dict[str, Any]:
        """The table as plain JSON data; keys that are None are left out, unknown ones come last."""
        known = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        del known["extra"]
        return {**{key: value for key, value in known.items() if value is not None}, **self.extra}


@dataclass(frozen=True, kw_only=True)
class SemanticEncoderConfig(Block):
    """`PatchEncoder`: other keys of the released files (qk_norm, rotary_bias, ...) are not read by the encoder."""

    num_layers: int = 6
    num_heads: int = 16
    hidden_size: int = 1024
    ffn_hidden_size: int = 4096
    norm_layer: str = "LayerNorm"
    causal: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_block("PatchEncoder", self.hidden_size, self.num_heads, self.norm_layer)
        if not self.causal:
            raise ValueError("PatchEncoder.causal must be true: no other semantic encoder was released")


@dataclass(frozen=True, kw_only=True)
class DiTConfig(Block):
    """`DiT`: the flow-matching head. `norm_layer` is that of queries and keys; other norms are LayerNorms."""

    num_layers: int = 18
    num_heads: int = 16
    hidden_size: int = 1024
    ffn_hidden_size: int = 4096
    modulation: bool = True
    qkv_bias: bool = False
    qk_norm: bool = False
    dropout: float = 0.0
    norm_layer: str = "LayerNorm"
    rotary_bias: bool = True
    rotary_theta: float = 10000.0
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_block("DiT", self.hidden_size, self.num_heads, self.norm_layer)
        if not self.modulation:
            raise ValueError("DiT.modulation must be true: flow time and speaker reach the head through it alone")

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Self:
        """Read the table; a null `rotary_theta` is not the default of a missing one, but the official layer's own."""
        null = "rotary_theta" in table and table["rotary_theta"] is None
        return super().from_dict({**table, "rotary_theta": 50000.0} if null else table)

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.hidden_size // self.num_heads


@dataclass(frozen=True, kw_only=True)
class MeanFlowConfig(Block):
    """`meanflow`: whether the head was distilled to mean velocities, and whether it is told the interval."""

    enabled: bool = False
    use_duration_embedding: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """`sampling`: the locked sampler of a fixed-step artifact."""

    solver: Literal["flow_matching", "scm"]
    num_steps: int = 2
    ode_method: str = "euler"
    guidance_scale: float = 0.0
    tau_mid: float = 1.3

    def __post_init__(self) -> None:
        steps = {"flow_matching": 1, "scm": 2}.get(self.solver)
        if steps is None:
            raise ValueError(f"sampling.solver is {self.solver!r}, but must be 'flow_matching' or 'scm'")
        if self.num_steps != steps or self.guidance_scale != 0.0:
            raise ValueError(
                f"sampling: solver {self.solver} has num_steps {steps} and guidance_scale 0, but these are "
                f"{self.num_steps} and {self.guidance_scale}"
            )
        if self.ode_method != "euler":
            raise ValueError(f"sampling.ode_method is {self.ode_method!r}, but must be 'euler'")
        if not 0.0 < self.tau_mid < math.pi / 2:
            raise ValueError(f"sampling.tau_mid is {self.tau_mid}, but must lie between 0 and pi / 2")


@dataclass(frozen=True, kw_only=True)
class StreamingConfig:
    """`streaming`: how text tokens and patches alternate in double streaming."""

    interleave_mode: Literal["one_to_one", "buffered_ratio"] = "one_to_one"
    initial_lookahead: int | None = None
    ta_per_tta: int = 2
    warmup_ta: int = 1

    def __post_init__(self) -> None:
        if self.interleave_mode not in ("one_to_one", "buffered_ratio"):
            raise ValueError(
                f"streaming.interleave_mode is {self.interleave_mode!r}, but must be 'one_to_one' or 'buffered_ratio'"
            )
        lookahead = 3 if self.initial_lookahead is None else self.initial_lookahead
        if self.interleave_mode == "buffered_ratio" and (lookahead < 1 or self.ta_per_tta < 1 or self.warmup_ta < 0):
            raise ValueError(
                "streaming: initial_lookahead and ta_per_tta must be positive and warmup_ta not negative, but these "
                f"are {lookahead}, {self.ta_per_tta} and {self.warmup_ta}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole model. Defaults are those that an official loader assumes for a missing key."""

    latent_dim: int
    patch_size: int
    llm: Mapping[str, Any] = field(hash=False)
    """llm_config.json: the arguments of a transformers Qwen2Config."""
    audiovae: AudioVAEConfig = field(default_factory=AudioVAEConfig)
    semantic_encoder: SemanticEncoderConfig = field(default_factory=SemanticEncoderConfig)
    dit: DiTConfig = field(default_factory=DiTConfig)
    cfg_droprate: float = 0.2
    xvec_drop_rate: float = 0.2
    fm_sigma: float = 0.0
    campplus_embedding_size: int = 512
    xvec_max_audio_seconds: float = 10.0
    meanflow: MeanFlowConfig | None = None
    sampling: SamplingConfig | None = None
    streaming: StreamingConfig | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.patch_size % 2:
            raise ValueError(f"patch_size must be even, but is {self.patch_size}")
        if self.latent_dim != self.audiovae.latent_dim:
            raise ValueError(f"latent_dim is {self.latent_dim}, but vocoder.latent_dim {self.audiovae.latent_dim}")
        if not 0.0 <= self.fm_sigma < 1.0:
            raise ValueError(f"fm_sigma is {self.fm_sigma}, but must lie in [0, 1)")

    @classmethod
    def from_dicts(cls, config: Mapping[str, Any], llm_config: Mapping[str, Any]) -> "ModelConfig":
        """Read config.json and llm_config.json.

        Raises: ValueError, a sentence, for a missing key or a value that no release has.
        """
        values: dict[str, Any] = {}
        for name, (attribute, kind) in TABLES.items():
            if config.get(name) is not None:
                values[attribute] = read_table(name, kind, config[name])
        plain = {item.name for item in fields(cls)} - {attribute for attribute, _ in TABLES.values()} - {"llm", "extra"}
        values |= {key: config[key] for key in plain if config.get(key) is not None}
        needed = {item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING}
        if missing := sorted(needed - {"llm"} - set(values)):
            raise ValueError(f"config.json lacks {' and '.join(missing)}")
        extra = {key: value for key, value in config.items() if key not in plain and key not in TABLES}
        return cls(**values, llm=dict(llm_config), extra=extra)

    def to_dicts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Plain JSON data for config.json and llm_config.json."""
        tables = {attribute: name for name, (attribute, _) in TABLES.items()}
        written: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("llm", "extra") or value is None:
                continue
            written[tables.get(item.name, item.name)] = write_table(value) if item.name in tables else value
        return {**ARCHITECTURE, **written, **self.extra}, dict(self.llm)

    @property
    def unit(self) -> int:
        """Tokens of the head a patch: one hidden state and the patch's frames."""
        return self.patch_size + 1

    @property
    def patch_samples(self) -> int:
        """Waveform samples in a patch (7680 in the release)."""
        return self.patch_size * self.audiovae.hop

    @property
    def patches_per_second(self) -> float:
        """Autoregressive steps a second of speech (6.25 in the release)."""
        return self.audiovae.sample_rate / self.patch_samples

    @property
    def hidden_size(self) -> int:
        """Width of the LLM."""
        return int(self.llm["hidden_size"])

    @property
    def mean_velocity(self) -> bool:
        """Whether the head was distilled by MeanFlow."""
        return self.meanflow is not None and self.meanflow.enabled

    @property
    def duration_embedding(self) -> bool:
        """Whether the head has a duration embedder."""
        return self.meanflow is not None and self.meanflow.enabled and self.meanflow.use_duration_embedding


TABLES: dict[str, tuple[str, Any]] = {
    "vocoder": ("audiovae", AudioVAEConfig),
    "PatchEncoder": ("semantic_encoder", SemanticEncoderConfig),
    "DiT": ("dit", DiTConfig),
    "meanflow": ("meanflow", MeanFlowConfig),
    "sampling": ("sampling", SamplingConfig),
    "streaming": ("streaming", StreamingConfig),
}
"""Official key of a nested table -> our field and its type."""


def check_block(name: str, hidden_size: int, num_heads: int, norm_layer: str) -> None:
    """Raises: ValueError for a width that the heads do not divide, or a norm that no release has."""
    if hidden_size % num_heads:
        raise ValueError(f"{name}.hidden_size {hidden_size} is not a multiple of num_heads {num_heads}")
    if norm_layer not in ("LayerNorm", "RMSNorm"):
        raise ValueError(f"{name}.norm_layer is {norm_layer!r}, but must be 'LayerNorm' or 'RMSNorm'")


def read_table(name: str, kind: Any, table: Mapping[str, Any]) -> Any:
    """One nested table of config.json; only `sampling` and `streaming` refuse unknown keys."""
    if hasattr(kind, "from_dict"):
        return kind.from_dict(table)
    if unknown := sorted(set(table) - {item.name for item in fields(kind)}):
        raise ValueError(f"config.json: {name} has unknown keys: {', '.join(unknown)}")
    return kind(**table)


def write_table(table: Any) -> dict[str, Any]:
    """A nested table as plain JSON data."""
    if hasattr(table, "to_dict"):
        return dict(table.to_dict())
    return {item.name: getattr(table, item.name) for item in fields(table) if getattr(table, item.name) is not None}
