"""Which file a table means: the one that it names, or the only one that the name can mean, written in another way."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath


class Named:
    """The files of a folder, by what tables call them; names are relative, with forward slashes."""

    def __init__(self, names: Iterable[str], *, roots: Iterable[Path]) -> None:
        self.names = sorted(names)
        self.known = frozenset(self.names)
        self.roots = [f"{os.fspath(root).rstrip('/')}/" for root in roots]
        self.stems = {stem(name): name for name in reversed(self.names)}

    def exactly(self, name: str) -> str | None:
        """The file of this name, with or without its ending."""
        return name if name in self.known else self.stems.get(name)

    def loosely(self, name: str) -> str | None:
        """The only file that the name can mean: an absolute path into the folder, with back slashes, in other letter
        case, in another form of Unicode, or without the folder that the file lies in."""
        inner = next((name.removeprefix(root) for root in self.roots if name.startswith(root)), name)
        found = self.exactly(inner) or self.folded.get(folded(inner))
        return found or None

    @cached_property
    def folded(self) -> dict[str, str]:
        """Whole names before bare ones, in forms that do not depend on how they are written -> name; empty where there
        are several."""
        bare: dict[str, str] = {}
        for name in self.names:
            for form in forms(name.rpartition("/")[2]):
                bare[form] = "" if bare.get(form, name) != name else name
        whole: dict[str, str] = {}
        for name in self.names:
            for form in forms(name):
                whole[form] = "" if whole.get(form, name) != name else name
        return bare | whole


def stem(name: str) -> str:
    """The name without its ending."""
    return str(PurePosixPath(name).with_suffix(""))


def forms(name: str) -> Iterator[str]:
    """What a table may call it, folded."""
    yield from (folded(name), folded(stem(name)))


def folded(name: str) -> str:
    """The name as it would be with forward slashes, composed, and in small letters."""
    return str(PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()))
