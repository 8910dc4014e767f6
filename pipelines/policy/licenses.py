"""What a license lets one do: a license as a set of terms, the union of terms for a shard, and what they forbid."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Literal

Use = Literal["commercial", "derivatives", "redistribution"]
USES: tuple[Use, ...] = ("commercial", "derivatives", "redistribution")

TERMS = {
    "by": "name the source",
    "sa": "pass on under the same license",
    "nc": "no commercial use",
    "nd": "no derivatives: enhancing, cutting and training make derivatives",
    "research": "for research only",
    "private": "not to be passed on",
    "gated": "whoever gets it has to accept its terms first",
    "third-party": "the rights belong to whoever uploaded it, not to whoever publishes the corpus",
    "per-country": "another license in each country: each recording has to say its own",
    "unknown": "nobody has said, or we do not know this license",
}
"""Term -> what it asks; a license is a set of these, and fewer terms leave more freedom."""

FORBIDS: dict[str, tuple[Use, ...]] = {
    "nc": ("commercial",),
    "nd": ("derivatives",),
    "research": ("commercial", "redistribution"),
    "private": ("redistribution",),
    "gated": ("redistribution",),
    "third-party": ("commercial", "redistribution"),
    "per-country": USES,
    "unknown": USES,
}
"""Term -> uses that it rules out. A term that is not here rules out none."""

UNKNOWN = frozenset({"unknown"})
TABLE = {
    # no conditions
    "CC0-1.0": "", "PDDL-1.0": "", "Unlicense": "", "WTFPL": "", "0BSD": "", "public-domain": "", "CC-PDDC": "",
    "CC-PDM-1.0": "", "DL-DE-ZERO-2.0": "", "MIT-0": "",
    # a notice, or the name of the source
    "Apache-2.0": "by", "MIT": "by", "BSD-2-Clause": "by", "BSD-3-Clause": "by", "ISC": "by", "Zlib": "by",
    "ODC-By-1.0": "by", "CDLA-Permissive-1.0": "by", "CDLA-Permissive-2.0": "by", "OGL-UK-1.0": "by",
    "OGL-UK-2.0": "by", "OGL-UK-3.0": "by", "OGL-Canada-2.0": "by", "NLOD-1.0": "by", "NLOD-2.0": "by",
    "etalab-1.0": "by", "etalab-2.0": "by", "DL-DE-BY-2.0": "by", "IODL-2.0": "by", "AFL-3.0": "by",
    # the same license again
    "ODbL-1.0": "by sa", "CDLA-Sharing-1.0": "by sa", "GPL-2.0": "by sa", "GPL-3.0": "by sa", "AGPL-3.0": "by sa",
    "LGPL-3.0": "by sa", "MPL-2.0": "by sa", "GFDL-1.3": "by sa", "IODL-1.0": "by sa",
    # no license of the list: a manifest writes these where a license does not say all, as in
    # `CC-BY-4.0 AND LicenseRef-gated`
    "LicenseRef-research-only": "research", "LicenseRef-private": "private", "LicenseRef-gated": "gated",
    "LicenseRef-third-party": "third-party", "LicenseRef-per-country": "per-country",
    "LicenseRef-all-rights-reserved": "nc nd private", "LicenseRef-attribution": "by",
    "LicenseRef-non-commercial": "nc", "LicenseRef-no-derivatives": "nd", "LicenseRef-share-alike": "sa",
}  # fmt: skip
"""Identifier (SPDX's where it has one) -> its terms; Creative Commons' BY family is read by rule instead."""

SPELLINGS = {
    "apache": "Apache-2.0", "apache license": "Apache-2.0", "apache 2": "Apache-2.0", "apache v2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0", "mit license": "MIT", "the mit license": "MIT", "expat": "MIT",
    "bsd": "BSD-3-Clause", "bsd 3": "BSD-3-Clause", "new bsd": "BSD-3-Clause", "pd": "public-domain",
    "public domain mark": "CC-PDM-1.0", "public domain mark 1.0": "CC-PDM-1.0", "pdm": "CC-PDM-1.0",
    "cc0": "CC0-1.0", "cc 0": "CC0-1.0", "cc 0 1.0": "CC0-1.0", "cc zero": "CC0-1.0", "cc0 1.0 universal": "CC0-1.0",
    "cc0 universal": "CC0-1.0", "odc by": "ODC-By-1.0", "odbl": "ODbL-1.0", "open database": "ODbL-1.0",
    "open government license 3.0": "OGL-UK-3.0", "open government license": "OGL-UK-3.0", "ogl": "OGL-UK-3.0",
    "ogl 3.0": "OGL-UK-3.0", "uk ogl 3.0": "OGL-UK-3.0", "ogl uk": "OGL-UK-3.0", "nlod": "NLOD-2.0",
    "norwegian license for open government data": "NLOD-2.0", "license ouverte": "etalab-2.0",
    "license ouverte 2.0": "etalab-2.0", "etalab": "etalab-2.0", "iodl": "IODL-2.0", "gpl": "GPL-3.0",
    "gpl 3": "GPL-3.0", "gnu gpl": "GPL-3.0", "gpl 3.0 only": "GPL-3.0", "gpl 3.0 or later": "GPL-3.0",
    "research only": "LicenseRef-research-only", "academic only": "LicenseRef-research-only",
    "research use only": "LicenseRef-research-only", "for research only": "LicenseRef-research-only",
    "nc": "LicenseRef-non-commercial", "nd": "LicenseRef-no-derivatives",
    "all rights reserved": "LicenseRef-all-rights-reserved", "proprietary": "LicenseRef-all-rights-reserved",
    "copyrighted": "LicenseRef-all-rights-reserved", "youtube": "LicenseRef-third-party",
    "standard youtube license": "LicenseRef-third-party", "youtube standard license": "LicenseRef-third-party",
    "per country": "LicenseRef-per-country",
}  # fmt: skip
"""How people write them, in the form that `plain` gives -> identifier."""

WORDS = (
    (r"(https?://)?(www\.)?creativecommons\.org/publicdomain/zero/([\d.]+)\S*", r"cc0 \3"),
    (r"(https?://)?(www\.)?creativecommons\.org/publicdomain/mark/([\d.]+)\S*", r"public domain mark \3"),
    (r"(https?://)?(www\.)?creativecommons\.org/licenses/([a-z-]+)/([\d.]+)\S*", r"cc \3 \4"),
    (r"https?://(www\.)?opensource\.org/licenses?/([\w.-]+)/?", r"\2"),
    (r"https?://(www\.)?apache\.org/licenses/license-2\.0(\.txt|\.html)?", "apache 2.0"),
    (r"licen[cs]es?\b", "license"), (r"creative ?commons", "cc"), (r"\bunported\b|\binternational\b|\bintl\b", " "),
    (r"attribution", "by"), (r"non[ -]?commercial\b", "nc"), (r"share[ -]?alike", "sa"),
    (r"no[ -]?deriv(ative|ativework|)s?( works?)?", "nd"), (r"\bv(ersion )?\.?(?=\d)", ""), (r"[\s,_/-]+", " "),
)  # fmt: skip
COUNTRIES = "at au br ca ch cn de es fr hk ie igo in it jp nl nz pt scotland tw uk us"
CC_BY = re.compile(
    rf"cc ?by((?: (?:nc|nd|sa))*)(?: license)?(?: ([1-4]\.0|2\.5))?(?: (?:{COUNTRIES.replace(' ', '|')}))?(?: license)?"
)
LIMITING = re.compile(
    r"\b(no|not|only|except|unless|research|academic|without|nc|nd|sa|ask|terms|must|trial)\b|non|prohibit|restrict|forb|"
    r"\buse|purpose|person|privat|intern|evaluat|permi|request|consent|contact|agree|approv|limit|educat|[ck]omm?er[cz]"
)
PLAIN_WORDS = "of by the and from in on at federal government excerpt excerpts corpus dataset data set"
"""With names, all that a note in brackets may hold: any other word could take back what stands before it."""


@cache
def terms_of(license: str) -> frozenset[str]:
    """The terms of a license, or of an expression of several; `unknown` for one that is not in the table.

    `A AND B` (also `A; B` and `A + B`) has the terms of both. `A OR B` leaves the choice: the one that forbids less.
    """
    text = " ".join(license.split())
    if " OR " in text and "(" not in text:
        choices = [terms_of(part) for part in text.split(" OR ")]
        return min(choices, key=lambda terms: (len(forbidden(terms)), len(terms), sorted(terms)))
    parts = [part for part in re.split(r" AND |;| \+ ", text) if part.strip()]
    if len(parts) > 1:
        return frozenset().union(*(terms_of(part) for part in parts))
    known = identifier(text)
    if known is None:
        return UNKNOWN
    if known in TABLE:
        return frozenset(TABLE[known].split())
    return frozenset(part for part in known.lower().split("-") if part in ("by", "nc", "nd", "sa"))


def identifier(license: str) -> str | None:
    """The identifier of one license, as in SPDX, however it is spelled; None where we do not know it."""
    text, _, note = license.strip().removesuffix(")").partition("(")
    if note:
        inside, before = identifier(note), identifier(text)
        if inside is None:
            return before if only_names(note) else None
        same = inside in (before, identifier(f"cc {text}"))
        return inside if same or (before is None and only_names(text)) else None
    words = plain(text)
    if (name := TABLE_AS_SPELLED.get(words) or SPELLINGS.get(words)) is not None:
        return name
    found = CC_BY.fullmatch(words)
    if found is None:
        return None
    parts = set(found[1].split())
    ordered = [part for part in ("nc", "nd", "sa") if part in parts]
    if {"nd", "sa"} <= parts:
        return None
    return "-".join(["CC", "BY", *(part.upper() for part in ordered), found[2] or "4.0"])


def only_names(text: str) -> bool:
    """Is it names of corpora, people and places, as far as one can see? Then it takes back nothing of a license."""
    words = re.findall(r"\w+", text)
    named = all(word[0].isupper() or word[0].isdigit() or word in PLAIN_WORDS.split() for word in words)
    return text.isascii() and named and LIMITING.search(text.lower()) is None


def plain(text: str) -> str:
    """Lower case, words that mean the same written the same, single spaces."""
    text = text.lower()
    for pattern, word in WORDS:
        text = re.sub(pattern, word, text)
    return " ".join(text.split())


TABLE_AS_SPELLED = {plain(name): name for name in TABLE}


def join(licenses: Iterable[str]) -> frozenset[str]:
    """The terms of a shard that holds samples under all of these: every restriction of any of them."""
    return frozenset().union(*(terms_of(license) for license in licenses))


def forbidden(terms: Iterable[str]) -> frozenset[Use]:
    """The uses that these terms rule out."""
    return frozenset(use for term in terms for use in FORBIDS.get(term, ()))


def allows(license: str | frozenset[str], use: Use) -> bool:
    """May one do this with it? `license` is a license, or terms that were joined; what is unknown is never allowed.

    `redistribution` is of the recordings as they are; for what was cut or enhanced, ask for `derivatives`, too.
    """
    return use not in forbidden(terms_of(license) if isinstance(license, str) else license)


def refused(license: str, uses: Iterable[Use]) -> str | None:
    """Why these uses are not allowed, as a sentence; None where all are."""
    terms = terms_of(license)
    for use in uses:
        guilty = sorted(term for term in terms if use in FORBIDS.get(term, ()))
        if guilty:
            told = "; ".join(f"{term}: {TERMS[term]}" for term in guilty)
            return f"license {license or '(none)'} does not allow {use} ({told})"
    return None
