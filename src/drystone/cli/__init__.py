"""The command line. Data commands are clients of the HTTP API; only stack and database commands act locally."""
