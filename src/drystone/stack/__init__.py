"""The native servers and our own processes, started without containers. Imports `core.settings` and `core.errors` only.

`supervise.Servers` runs the three servers; `up.run` adds migrations, honcho and restarts; `guardian` cleans up after `kill -9`.
"""
