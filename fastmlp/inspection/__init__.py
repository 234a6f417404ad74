"""Pictures of what training did."""
