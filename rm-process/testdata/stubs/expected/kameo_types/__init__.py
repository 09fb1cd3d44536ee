"""The types of callbacks at run time."""
