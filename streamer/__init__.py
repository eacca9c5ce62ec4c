"""Regions in video and very large images: found, tracked, described, emitted with their time."""

from __future__ import annotations

__version__ = "0.1.0"
