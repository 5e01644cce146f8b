"""The data of a stack as a whole: snapshots, beginning anew, a newer PostgreSQL. Knows the servers only as folders and programs."""
