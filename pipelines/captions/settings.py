"""What a manifest says of an endpoint: whom to ask, how, and for how much."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from infra.manifest import Manifest

Style = Literal["openai", "gemini"]
"""OpenAI's chat completions, or Gemini's generateContent."""


class Budget(Manifest):
    """What may be spent in all, over all jobs that share the folder; at least one limit."""

    requests: int | None = Field(default=None, ge=0)
    audio_hours: float | None = Field(default=None, ge=0)
    money: float | None = Field(default=None, ge=0)
    """In the currency of `price`."""

    @model_validator(mode="after")
    def _limits_something(self) -> "Budget":
        if self.requests is None and self.audio_hours is None and self.money is None:
            raise ValueError("give requests, audio_hours or money: an endpoint is never asked without a limit")
        return self


class Price(Manifest):
    """What the endpoint costs, as its owner says."""

    per_request: float = Field(default=0.0, ge=0)
    per_audio_minute: float = Field(default=0.0, ge=0)
    per_million_tokens_in: float = Field(default=0.0, ge=0)
    per_million_tokens_out: float = Field(default=0.0, ge=0)

    def of(self, *, seconds: float, tokens_in: int, tokens_out: int) -> float:
        """Of one request."""
        tokens = self.per_million_tokens_in * tokens_in + self.per_million_tokens_out * tokens_out
        return self.per_request + self.per_audio_minute * seconds / 60 + tokens / 1e6


class Endpoint(Manifest):
    """Whom to ask, how, and for how much."""

    style: Style = "openai"
    url: str
    """Up to the version: `https://HOST/v1` before /chat/completions, `https://HOST/v1beta` before /models/."""
    model: str = Field(pattern=r"^[A-Za-z0-9._:/@-]+$")
    key_file: Path | None = None
    """A file with the key and nothing else (a mounted secret); None where no key is needed."""
    folder: Path
    """Where answers and spending are kept, for all jobs that share them; absolute, and seen by every worker."""
    budget: Budget
    price: Price = Price()
    private: bool = False
    """The endpoint is on this machine or in a private network."""
    ca_file: Path | None = None
    """Authority that signed the endpoint's certificate, in PEM, where the system does not know it."""
    parallel: int = Field(default=4, ge=1, le=64)
    """Requests at a time, of each worker."""
    attempts: int = Field(default=5, ge=1)
    timeout_seconds: float = Field(default=60, gt=0)
    backoff_seconds: float = Field(default=1, gt=0)
    """Before the second attempt; doubled for each further one."""
    max_wait_seconds: float = Field(default=120, gt=0)
    """A server that asks for a longer wait is given up for this sound."""
    max_tokens: int = Field(default=512, ge=64)
    max_seconds: float = Field(default=60, gt=0)
    """Longer clips, and those under the next two, are left to the rules: asking costs, and filters come later."""
    min_mos: float | None = None
    min_snr_db: float | None = None

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("begin with https:// (or http://) and a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("no name, password, query or fragment in it; a key belongs in key_file")
        return url

    @model_validator(mode="after")
    def _is_safe(self) -> "Endpoint":
        if self.key_file is not None and self.url.startswith("http:") and not self.private:
            raise ValueError("url: a key is sent over https only, unless the endpoint is private (`private: true`)")
        if not self.folder.is_absolute():
            raise ValueError(f"folder: give an absolute path, workers do not start here (it is {self.folder})")
        if self.budget.money is not None and self.price == Price():
            raise ValueError("budget.money: say what a request costs, in `price`")
        return self
