"""Drystone: documents in, kept safe, answered with passages that can be checked. No containers."""

__version__ = "0.1.0"
