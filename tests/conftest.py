"""What all tests share: quiet libraries, no network, the repository's root."""

import os
import pathlib
import socket

# Before anything imports TensorFlow, transformers or matplotlib.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """The book promises to need no network once it is installed; a test that reaches out fails."""
    connect = socket.socket.connect

    def only_loopback(self, address):
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_loopback)
