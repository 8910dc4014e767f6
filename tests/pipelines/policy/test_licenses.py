"""Licenses: however they are written, their terms are known; a shard has all terms; what is unknown is not allowed."""

import itertools

import pytest

from pipelines.policy.licenses import FORBIDS, TABLE, TERMS, USES, allows, identifier, join, refused, terms_of


@pytest.mark.parametrize(
    ("written", "name", "terms"),
    [
        ("CC-BY-4.0", "CC-BY-4.0", "by"),
        ("cc by 4.0", "CC-BY-4.0", "by"),
        ("CC BY 3.0 (Blender Foundation)", "CC-BY-3.0", "by"),
        ("Creative Commons Attribution 4.0 International", "CC-BY-4.0", "by"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0", "by nc sa"),
        ("CC BY 3.0 US", "CC-BY-3.0", "by"),
        ("CC BY 3.0 ND", None, "unknown"),
        ("Attribution-NonCommercial-NoDerivatives 4.0 International (CC BY-NC-ND 4.0)", "CC-BY-NC-ND-4.0", "by nc nd"),
        ("Attribution 4.0 International (CC BY 4.0)", "CC-BY-4.0", "by"),
        ("CC BY 4.0 (MIT)", None, "unknown"),
        ("non-commercial", "LicenseRef-non-commercial", "nc"),
        ("CC BY-NC-ND 4.0", "CC-BY-NC-ND-4.0", "by nc nd"),
        ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0", "by nc nd"),
        ("https://creativecommons.org/licenses/by-nc/4.0/", "CC-BY-NC-4.0", "by nc"),
        ("http://creativecommons.org/licenses/by-sa/3.0/deed.en", "CC-BY-SA-3.0", "by sa"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0", ""),
        ("creativecommons.org/licenses/by/4.0/legalcode", "CC-BY-4.0", "by"),
        ("https://creativecommons.org/licenses/by/4.0/ non-commercial only", None, "unknown"),
        ("https://creativecommons.org/licenses/by/4.0/, sound: all rights reserved", None, "unknown"),
        ("https://creativecommons.org/publicdomain/zero/1.0/ but ask first", None, "unknown"),
        ("CC BY 2.5", "CC-BY-2.5", "by"),
        ("CC0 (Common Voice)", "CC0-1.0", ""),
        ("CC0", "CC0-1.0", ""),
        ("public domain (US federal)", "public-domain", ""),
        ("Apache License 2.0", "Apache-2.0", "by"),
        ("apache-2.0", "Apache-2.0", "by"),
        ("Apache-2.0 (AISHELL-1)", "Apache-2.0", "by"),
        ("MIT", "MIT", "by"),
        ("ODC-BY", "ODC-By-1.0", "by"),
        ("ODbL", "ODbL-1.0", "by sa"),
        ("Open Government Licence v3.0", "OGL-UK-3.0", "by"),
        ("Licence Ouverte 2.0", "etalab-2.0", "by"),
        ("NLOD 2.0", "NLOD-2.0", "by"),
        ("all rights reserved", "LicenseRef-all-rights-reserved", "nc nd private"),
        ("research only", "LicenseRef-research-only", "research"),
        ("unknown", None, "unknown"),
        ("", None, "unknown"),
        ("not CC BY 4.0", None, "unknown"),
        ("CC BY 4.0 (non-commercial use only)", None, "unknown"),
        ("CC BY 4.0 (not for training)", None, "unknown"),
        ("CC BY 4.0 (personal use)", None, "unknown"),
        ("CC BY 4.0 (Personal Use)", None, "unknown"),
        ("CC BY 4.0 (evaluation purposes)", None, "unknown"),
        ("CC BY 4.0 (ask first)", None, "unknown"),
        ("CC BY 4.0 (Ask First)", None, "unknown"),
        ("CC BY 4.0 (nicht kommerziell)", None, "unknown"),
        ("CC BY 4.0 (\u975e\u5546\u4e1a)", None, "unknown"),
        ("CC BY 4.0 (AMI) ask first", None, "unknown"),
        ("for research (CC BY 4.0)", None, "unknown"),
        ("ask first (CC0)", None, "unknown"),
        ("Common Voice (CC0)", "CC0-1.0", ""),
        ("CC BY 4.0 (VoiceBank-DEMAND / VCTK)", "CC-BY-4.0", "by"),
        ("CC BY 4.0 (AMI excerpts)", "CC-BY-4.0", "by"),
        ("CC BY-ND-SA 4.0", None, "unknown"),
        ("CC BY 9.0", None, "unknown"),
        ("mit or so", None, "unknown"),
        ("other", None, "unknown"),
    ],
)  # fmt: skip
def test_spelling_of_a_license_is_understood_or_unknown(written: str, name: str | None, terms: str) -> None:
    assert identifier(written) == name
    assert terms_of(written) == set(terms.split())


def test_unknown_is_never_allowed() -> None:
    assert not any(allows(license, use) for license in ("unknown", "", "my license", "other") for use in USES)
    assert not any(allows(join(["CC0-1.0", "who knows"]), use) for use in USES)


@pytest.mark.parametrize(
    ("license", "allowed"),
    [
        ("CC0-1.0", "commercial derivatives redistribution"),
        ("CC-BY-4.0", "commercial derivatives redistribution"),
        ("CC-BY-SA-4.0", "commercial derivatives redistribution"),
        ("CC-BY-NC-4.0", "derivatives redistribution"),
        ("CC-BY-NC-ND-4.0", "redistribution"),
        ("CC-BY-4.0 AND LicenseRef-gated", "commercial derivatives"),
        ("CC-BY-4.0 AND LicenseRef-third-party", "derivatives"),
        ("research only", "derivatives"),
        ("all rights reserved", ""),
        ("LicenseRef-per-country", ""),
        ("MIT OR all rights reserved", "commercial derivatives redistribution"),
        ("CC-BY-NC-4.0 OR CC-BY-SA-4.0", "commercial derivatives redistribution"),
        ("CC-BY-NC-4.0; CC-BY-SA-4.0", "derivatives redistribution"),
    ],
)
def test_what_a_license_allows(license: str, allowed: str) -> None:
    assert [use for use in USES if allows(license, use)] == allowed.split()
    assert (refused(license, USES) is None) == (allowed.split() == list(USES))


def test_joining_never_allows_more_and_the_order_does_not_matter() -> None:
    some = ["CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-SA-3.0", "unknown", "LicenseRef-gated"]
    for one, two in itertools.product(some, repeat=2):
        both = join([one, two])
        assert both == join([two, one]) == join([one, two, one])
        assert both >= terms_of(one)
        for use in USES:
            assert allows(both, use) == (allows(one, use) and allows(two, use))


def test_refusal_is_a_sentence_that_names_the_term() -> None:
    assert refused("CC-BY-NC-4.0", ["commercial"]) == (
        "license CC-BY-NC-4.0 does not allow commercial (nc: no commercial use)"
    )


def test_every_term_of_the_table_is_explained() -> None:
    assert {term for terms in TABLE.values() for term in terms.split()} | set(FORBIDS) <= set(TERMS)
    assert all(identifier(name) == name for name in TABLE)
