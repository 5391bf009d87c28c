"""Strangers' files, read within limits: what a format can need, and no more. No torch."""
