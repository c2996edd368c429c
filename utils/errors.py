"""The few exceptions that a reader of the book meets.

Each message is one clear line in Chinese: what is wrong, where (file, line, cell, tensor), what to do.
Everything else that is raised is a fault of the book itself.
"""

from __future__ import annotations

from collections.abc import Iterator


class BookError(Exception):
    """Base of all errors that the book raises on purpose."""


class ConfigError(BookError):
    """A parameter, a profile or an option has a value that the book does not know."""


class DataError(BookError):
    """A data file is missing, damaged or malformed."""


class CheckpointError(BookError):
    """A checkpoint is missing, truncated or does not fit the model."""


class RunError(BookError):
    """A chapter could not be executed, or the site could not be built."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, what caused that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
