"""Telltale: streaming detection of manipulated images whose verdicts can be checked."""

__version__ = "0.1.0"
