"""Build networks from a SpeechBrain hyperparams.yaml without running it: tags are read as data, and few are obeyed.

HyperPyYAML imports and calls whatever a file names, at loading. Here nothing is called until a network is asked for,
and then only what lies on the way to it: `!ref` to a key (also in arithmetic), and `!new:` and `!name:` of what is
allowed.
"""

import ast
import importlib
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from models.frozen import WeightsError

PYTHON = "tag:yaml.org,2002:python/"
REFERENCE = re.compile(r"<([A-Za-z_]\w*)((?:\[\w+\])*)>")
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


@dataclass(frozen=True)
class Tagged:
    """A value with a tag that was not obeyed."""

    tag: str
    value: Any


class Loader(yaml.SafeLoader):
    """Plain YAML; every other tag becomes `Tagged`."""


def tagged(loader: Loader, suffix: str, node: yaml.Node) -> Tagged:
    """The value under a tag, of any kind."""
    if isinstance(node, yaml.MappingNode):
        return Tagged(suffix, loader.construct_mapping(node, deep=True))
    if isinstance(node, yaml.SequenceNode):
        return Tagged(suffix, loader.construct_sequence(node, deep=True))
    assert isinstance(node, yaml.ScalarNode)
    return Tagged(suffix, loader.construct_scalar(node))


Loader.add_multi_constructor("!", tagged)
Loader.add_multi_constructor(PYTHON, lambda loader, suffix, node: tagged(loader, f"python/{suffix}", node))


class Hyperparameters:
    """The keys of a file, and what may be made of them."""

    def __init__(self, path: Path, *, allowed: Collection[str], fix: str) -> None:
        """`allowed`: dotted names that `!new:` and `!name:` may import.

        Raises: WeightsError for what is no YAML table.
        """
        self.path, self.allowed, self.fix = path, allowed, fix
        try:
            found = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise self.refusal(f"cannot be read: {' '.join(str(error).split())[:200]}") from None
        if not isinstance(found, dict):
            raise self.refusal("is no table of keys")
        self.table: Mapping[str, Any] = found
        self.made: dict[str, Any] = {}
        self.making: list[str] = []

    def refusal(self, why: str) -> WeightsError:
        """The error that says what is wrong with the file."""
        return WeightsError(f"{self.path} {why}; {self.fix}")

    def get(self, key: str) -> Any:
        """What a key stands for, made once; references to it share it.

        Raises: WeightsError for what is not there, or not allowed.
        """
        if key not in self.table:
            raise self.refusal(f"has no key {key!r}")
        if key in self.making:
            raise self.refusal(f"has a key {key!r} that refers to itself")
        if key not in self.made:
            self.making.append(key)
            self.made[key] = self.resolved(self.table[key])
            self.making.pop()
        return self.made[key]

    def resolved(self, value: Any) -> Any:
        """The value with every tag in it obeyed, or refused."""
        if isinstance(value, dict):
            return {key: self.resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolved(item) for item in value]
        if not isinstance(value, Tagged):
            return value
        kind, _, name = value.tag.partition(":")
        if kind == "ref" and not name:
            return self.reference(str(value.value))
        if kind not in ("new", "name") or name not in self.allowed:
            raise self.refusal(f"asks for !{value.tag}, which is not allowed")
        module, _, attribute = name.rpartition(".")
        target = getattr(importlib.import_module(module), attribute)
        given = self.resolved(value.value) if value.value not in ("", None) else {}
        if kind == "name":
            if given:
                raise self.refusal(f"gives arguments to !{value.tag}, which are not read")
            return target
        try:
            return target(**given) if isinstance(given, dict) else target(*given)
        except (TypeError, ValueError, RuntimeError) as error:
            raise self.refusal(f"gives wrong arguments to !{value.tag} ({error})") from None

    def reference(self, text: str) -> Any:
        """`<key>`, `<key[inner]>`, or arithmetic of numbers and such."""
        whole = REFERENCE.fullmatch(text.strip())
        if whole:
            return self.inner(whole)
        number = REFERENCE.sub(lambda match: repr(self.inner(match)), text)
        try:
            return calculated(ast.parse(number, mode="eval").body)
        except (SyntaxError, ValueError, ArithmeticError):
            raise self.refusal(f"refers to {text!r}, which is neither a key nor arithmetic") from None

    def inner(self, match: re.Match[str]) -> Any:
        """What a reference stands for."""
        found = self.get(match[1])
        for step in re.findall(r"\[(\w+)\]", match[2]):
            if not isinstance(found, Mapping) or step not in found:
                raise self.refusal(f"refers to {match[0]}, which is not there")
            found = found[step]
        return found


def calculated(node: ast.expr) -> Any:
    """The value of an expression of numbers.

    Raises: ValueError for anything else.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -calculated(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](calculated(node.left), calculated(node.right))
    raise ValueError("no arithmetic of numbers")
