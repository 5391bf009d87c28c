"""The components that make a method, one file for each role."""
