"""edge_cl."""
