"""Backups of a working stack to a folder or an S3 store, restored and proven elsewhere. Knows no server's program but what it is given."""
