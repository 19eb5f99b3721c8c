"""Looking at vectors: similarity, neighbours and projections, numpy in and numpy out."""
