"""A question to ranked passages. Reads documents and the index; owns no table."""
