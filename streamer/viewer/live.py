"""Notices when a run writes to the catalog."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable

from streamer.viewer.records import Records

_LOOK_EVERY_S = 0.5


async def pulses(records: Records, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[int]:
    """A number at once and whenever somebody has written, at most twice a second, until the
    reader is `gone`."""
    db = records.connect()
    seen: int | None = None
    try:
        while not await gone():
            try:
                version = int(db.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error:
                return
            if version != seen:
                seen = version
                yield version
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        db.close()
