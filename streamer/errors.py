"""One tree of errors; everything below `StreamerError` is shown to the user as one line.

    StreamerError                something a user can act on; exit code 2
    ├── ConfigError              a configuration does not describe a runnable pipeline
    ├── InputError               a file, folder or stream cannot be read
    ├── OutputError              a result cannot be written
    ├── WeightsError             a model's files are missing or do not fit
    ├── ServiceError             a service that a part asks cannot be used
    └── ContractError            an operator, source or sink broke its contract (a bug, named)

Every message names the input, what is wrong with it and what to do.
"""

from __future__ import annotations


class StreamerError(Exception):
    """Base of all errors that are meant for the user's eyes."""


class ConfigError(StreamerError):
    """A configuration does not describe a runnable pipeline."""


class InputError(StreamerError):
    """A file, folder or stream cannot be read."""


class OutputError(StreamerError):
    """A result cannot be written."""


class WeightsError(StreamerError):
    """A model's files are missing or do not fit."""


class ServiceError(StreamerError):
    """A service that a part asks cannot be used."""


class ContractError(StreamerError):
    """An operator, source or sink broke its contract."""
