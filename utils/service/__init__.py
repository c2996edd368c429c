"""A small HTTP service around a predictor: batches concurrent requests, refuses what it cannot serve, swaps models.

Chapter 17 explains it part by part. It knows nothing of models: a predictor is any function from texts to results.
"""

from .app import Service
from .batcher import Batcher
from .counters import Counters
from .intake import Limits, Refusal
from .server import Server

__all__ = ["Batcher", "Counters", "Limits", "Refusal", "Server", "Service"]
