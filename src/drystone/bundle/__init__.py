"""Bundles: collections in open formats, for another installation. docs/reference/bundle.md"""
