"""A gateway that fails in every way there is, and what vn_magic does then."""
