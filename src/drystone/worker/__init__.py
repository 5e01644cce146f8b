"""The worker edge: Celery brings nudges, the ledger holds the work. Takes jobs, runs them, tells how they ended."""
