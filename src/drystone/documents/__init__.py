"""Collections, documents, versions and chunks: from an upload to searchable passages."""
