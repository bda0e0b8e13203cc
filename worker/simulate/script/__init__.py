"""The script of simulated calls: how they end, who speaks, and what they leave behind."""
