"""What MLflow does not take: out of reach, or a no; of which run and which record; and keys as it takes them."""

import re

from infra.shipping import Shipped, without_password


class Unreachable(Exception):  # noqa: N818 - reads as what happened
    """MLflow does not answer, wants another login, or its database is locked; try again later. What it says goes on
    from `MLflow at URI`."""


class RunRefused(Exception):  # noqa: N818 - reads as what happened
    """MLflow answers, and will not have this run: its experiment was deleted, for example. The others go on."""


class NotYet(Exception):  # noqa: N818 - reads as what happened
    """A record names a model that MLflow does not have yet; the records after it wait with it."""


INVALID = "INVALID_PARAMETER_VALUE"
ANSWERS = (INVALID, "BAD_REQUEST", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
"""Errors by which an MLflow that is there says no."""
LOCKED = ("UNAUTHENTICATED", "PERMISSION_DENIED")
LOGIN = (
    "wants another login: put MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD into the environment, or both into "
    "the URI, before the host"
)
"""What a person can do where MLflow lets nobody in."""


class reaching:  # noqa: N801 - reads as a word: `with reaching():`
    """Turn what MLflow, its HTTP client and its database raise when they cannot be reached into Unreachable, and a no
    into RunRefused."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _at: object) -> None:
        if kind is None or not isinstance(error, Exception) or isinstance(error, NotYet | Unreachable | RunRefused):
            return
        told = without_password(" ".join(str(error).split()))[:300]
        code = getattr(error, "error_code", None)
        if code in ANSWERS:
            raise RunRefused(told) from error
        if code in LOCKED:
            raise Unreachable(LOGIN) from error
        origin = kind.__module__.partition(".")[0]
        if origin in ("mlflow", "requests", "urllib3", "sqlalchemy", "sqlite3") or isinstance(error, ConnectionError):
            raise Unreachable(f"cannot be reached: {told}") from error


class noting:  # noqa: N801 - reads as a word: `with noting(...):`
    """Note what MLflow finds invalid (of a run that was deleted: everything), and go on."""

    def __init__(self, what: str, shipped: Shipped) -> None:
        self.what, self.shipped = what, shipped

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _at: object) -> bool:
        if getattr(error, "error_code", None) != INVALID:
            return False
        self.shipped.refused.append(f"{self.what}: {without_password(str(error))[:300]}")
        return True


def metric_name(key: str) -> str:
    """The same of a metric: MLflow's page makes a section of all before the last slash, and charts of one section stand
    side by side. So `loss/flow/velocity` and `loss/stop/bce` are charts `flow.velocity` and `stop.bce` of `loss`."""
    section, slash, chart = named(key).partition("/")
    return section + slash + chart.replace("/", ".")


def named(key: str) -> str:
    """A key as MLflow takes it. Keys have the names of corpora and languages in them, which people choose."""
    parts = re.sub(r"[^\w.\-: /]", "_", key).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:250] or "_"
