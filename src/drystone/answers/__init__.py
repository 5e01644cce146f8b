"""Answers: a question to sentences, each with the span of a passage that bears it. Owns no table; searches as anybody does."""
