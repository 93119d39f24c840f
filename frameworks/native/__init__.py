"""Operators in C++ that both twins compile, each held to the readable formula of each twin by that twin's tests."""

from pathlib import Path

FOLDER = Path(__file__).parent
