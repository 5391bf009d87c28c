"""Differentiable neural architecture search."""
