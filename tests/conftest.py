"""Fixtures for data that lies outside the product; tests that need it skip when it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# machines are shared: how long an example takes says nothing
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

ROOT = Path(__file__).resolve().parent.parent


def _folder(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / default))
    if not path.is_dir():
        pytest.skip(f"no {path}; set {variable} to the folder")
    return path


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Golden vectors of the official Osprey code."""
    return _folder("STREAMER_REFERENCE", "reference/osprey")


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """Real footage."""
    return _folder("STREAMER_MEDIA", "media")
