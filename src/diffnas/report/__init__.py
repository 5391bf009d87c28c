"""Drawings and reports of what a run left behind."""
