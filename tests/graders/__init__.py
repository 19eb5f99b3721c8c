"""A lesson with a pack, graded by the graders that courses use, on a machine without network or token."""
