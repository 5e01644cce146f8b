"""The native servers and our own processes, started without containers. Imports `core.settings` and `core.errors` only.

`supervise.Servers` runs the three servers; `up.Run` adds migrations, honcho and restarts; `commands` is what people ask of it;
`guardian` cleans up after `kill -9`.
"""
