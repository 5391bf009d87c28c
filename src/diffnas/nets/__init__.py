"""Supernets and networks."""
