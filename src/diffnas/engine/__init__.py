"""The two phases: search and evaluation."""
