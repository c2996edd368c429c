"""Methods that add nothing: BitFit trains the biases that are there, `head_only` nothing of the encoder."""

from __future__ import annotations

import keras

from .adaptation import Adaptation


def bitfit(model: keras.Model) -> Adaptation:
    """Train the bias terms alone: biases of dense layers and beta of LayerNorms (Ben Zaken et al. 2022)."""
    adaptation = Adaptation(model, "bitfit", {})
    adaptation.train("bias", "beta")
    return adaptation


def head_only(model: keras.Model) -> Adaptation:
    """Freeze the whole encoder: its outputs become fixed features for the head."""
    return Adaptation(model, "head_only", {})
