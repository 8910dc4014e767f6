"""What tests share: where the recordings beside the checkout are."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real recordings and parity fixtures beside the checkout; the test skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no recordings and fixtures beside the checkout: {SHARED.name}/ is missing")
    return SHARED
