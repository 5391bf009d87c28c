"""The folder of a sweep as a report reads it: its runs, how far each has come, and a page of them."""
