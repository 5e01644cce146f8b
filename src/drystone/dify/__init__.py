"""The Dify edge: collections as external knowledge of Dify. Translates, calls search, translates."""
