"""YAML to typed manifests: strict, frozen, and every mistake reported at once with a suggestion."""

import difflib
import hashlib
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError

Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")]
"""Where something computes: `cpu`, `cuda`, `cuda:1`."""


class ManifestError(ValueError):
    """A manifest that cannot be used. `problems` holds one sentence a mistake, each with its path."""

    def __init__(self, where: str, problems: list[str]) -> None:
        self.where, self.problems = where, problems
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__("\n  ".join([f"{where}: {count}", *problems]))


class Manifest(BaseModel):
    """A part of a manifest: unknown keys are mistakes, numbers are finite, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Entry(Manifest):
    """A name in a list of a manifest, with the settings of the file it names."""

    name: str
    settings: SerializeAsAny[Manifest]


M = TypeVar("M", bound=Manifest)


def names_in(folder: str) -> list[str]:
    """Names that a manifest may use for `folder`, a package such as `pipelines.filters`: its files."""
    package = importlib.import_module(folder)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def resolve(folder: str, name: str) -> ModuleType:
    """The module that `name` stands for in `folder`.

    Raises: ValueError, a sentence that lists what there is.
    """
    known = names_in(folder)
    if name not in known:
        raise ValueError(
            f"no {name!r} in {folder.replace('.', '/')}/{did_you_mean(name, known)}; there are: {', '.join(known)}"
        )
    return importlib.import_module(f"{folder}.{name}")


def did_you_mean(word: str, known: Iterable[str], *, ending: str = "") -> str:
    """`; did you mean 'x'?`, or nothing where no known word is near. `ending`: what is said behind each of them."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0] + ending!r}?" if near else ""


def entry_of(folder: str) -> Any:
    """The type of an entry that names a file of `folder`: `{name: duration, min_seconds: 1}` or just `duration`."""

    def read(value: object) -> object:
        if isinstance(value, Entry):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise ValueError(f"an entry is a name, or a table with a name, but is {value!r}")
        module = resolve(folder, value["name"])
        settings = value.get("settings")
        if not isinstance(settings, Mapping):
            settings = {key: item for key, item in value.items() if key != "name"}
        try:
            return Entry(name=value["name"], settings=module.Config.model_validate(dict(settings)))
        except ValidationError as error:
            raise ValueError("; ".join(sentences(error, module.Config))) from None

    return Annotated[Entry, BeforeValidator(read)]


def load(kind: type[M], path: str | Path, overrides: Mapping[str, str] | None = None) -> M:
    """Read the manifest at `path`; `overrides` are `--set key.path=value`, values read as YAML.

    Raises: ManifestError with every problem; its message is fit to print.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = sorted(other.stem for other in path.parent.glob("*.yaml"))
        raise ManifestError(str(path), [f"no such file{did_you_mean(path.stem, beside, ending='.yaml')}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(str(path), [f"cannot be read: {error}"]) from None
    try:
        data = read_yaml(text)
    except ValueError as error:
        raise ManifestError(str(path), [f"not YAML: {error}"]) from None
    return parse(kind, data if data is not None else {}, where=str(path), overrides=overrides)


class Loader(yaml.SafeLoader):
    """YAML in which a key stands once: of two, the first would be lost without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A table as it is written: once merged (`<<`), it may have a key again that it states otherwise."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                told = f"the key {key.value!r} stands twice in one table"
                raise yaml.composer.ComposerError(None, None, told, key.start_mark)
            seen.add(key.value)
        return node


def read_yaml(text: str) -> object:
    """Plain data.

    Raises: ValueError, a sentence: also for a day such as 2026-99-99, and for tables as deep as Python's stack.
    """
    try:
        return Loader(text).get_single_data()
    except RecursionError:
        raise ValueError("tables or lists lie in one another too deeply") from None
    except (yaml.YAMLError, ValueError, AttributeError) as error:  # the last of `!!timestamp x`
        raise ValueError(" ".join(str(error).split())) from None


def parse(kind: type[M], data: object, *, where: str, overrides: Mapping[str, str] | None = None) -> M:
    """A manifest from data already read; see `load`."""
    if not isinstance(data, dict):
        raise ManifestError(where, [f"a manifest is a table of keys, but is {type(data).__name__}"])
    for dotted, value in (overrides or {}).items():
        try:
            read = read_yaml(value)
        except ValueError as error:
            told = f"--set {dotted}={value}: the value is not YAML; quote it, or close it ({error})"
            raise ManifestError(where, [told]) from None
        put(data, dotted, read, where=where)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ManifestError(where, sentences(error, kind)) from None
    except OverflowError as error:
        raise ManifestError(where, [f"a number is larger than any that can be meant: {error}"]) from None


def put(data: dict[str, Any], dotted: str, value: object, *, where: str) -> None:
    """Set `a.b.c` in nested tables (and lists, by number)."""
    *parents, last = dotted.split(".")
    place: Any = data
    for part in parents:
        place = place[numbered(place, part, dotted, where)] if isinstance(place, list) else place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise ManifestError(where, [f"--set {dotted}: {part!r} is a value, not a table"])
    place[numbered(place, last, dotted, where) if isinstance(place, list) else last] = value


def numbered(items: list[Any], part: str, dotted: str, where: str) -> int:
    """The place in a list that `part` of a path names.

    Raises: ManifestError.
    """
    if not (part.isdecimal() and len(part) < 10 and int(part) < len(items)):
        raise ManifestError(where, [f"--set {dotted}: {part!r} is no place in a list of {len(items)}: count from 0"])
    return int(part)


def sentences(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """One sentence a problem: path, what is wrong, and a suggestion for a misspelled key."""
    found = []
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in problem["loc"]) or "(whole manifest)"
        if problem["type"] == "extra_forbidden":
            known = fields_at(kind, problem["loc"][:-1])
            hint = did_you_mean(str(problem["loc"][-1]), known) or (f"; there are: {', '.join(known)}" if known else "")
            found.append(f"{path}: no such key{hint}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = problem.get("input")
            shown = (
                f" (it is {given!r})"
                if isinstance(given, str | int | float | bool) and repr(given) not in message
                else ""
            )
            found.append(f"{path}: {message}{shown}")
    return found


def fields_at(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that a validation error's location lies in."""
    at: Any = kind
    for part in location:
        if isinstance(at, type) and issubclass(at, BaseModel) and part in at.model_fields:
            at = models_in(at.model_fields[str(part)].annotation)
    return sorted(at.model_fields) if isinstance(at, type) and issubclass(at, BaseModel) else []


def models_in(annotation: Any) -> Any:
    """The first manifest type inside `X | None`, `list[X]`, `dict[str, X]` or `Annotated[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, list, tuple, dict, Annotated):
        for inner in get_args(annotation):
            found = models_in(inner)
            if found is not None:
                return found
    return None


def canonical(value: object) -> str:
    """One text for one meaning: sorted keys, no spaces; manifests are written out in full."""

    def plain(item: object) -> object:
        if isinstance(item, BaseModel):
            return item.model_dump(mode="json")
        if isinstance(item, Path):
            return str(item)
        raise TypeError(f"{type(item).__name__} has no canonical form")

    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=plain)


def digest(value: object) -> str:
    """sha256, in hex, of the canonical form of a manifest or of plain data."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
