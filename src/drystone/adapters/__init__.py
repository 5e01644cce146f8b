"""The outside world, one file per kind."""
