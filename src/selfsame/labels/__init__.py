"""What people say of two replies: kept in one file, read as preference pairs, counted as wins."""
