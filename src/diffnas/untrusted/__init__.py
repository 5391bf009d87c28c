"""Readers of strangers' files, which limit time and memory to what a valid file can need. No torch."""
