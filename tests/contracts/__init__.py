"""What every technique of a role must do."""
