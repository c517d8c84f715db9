"""What an operator touches: `config` (settings and where they come from) and `logs`."""
