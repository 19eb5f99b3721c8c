"""One small file for each neighbour: what it is given, and what it refuses, said in a line or two."""
