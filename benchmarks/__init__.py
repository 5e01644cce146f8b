"""Figures from one command each; see README.md here."""
