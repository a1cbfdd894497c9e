"""Measurements: what the figures in the documents are made with."""
