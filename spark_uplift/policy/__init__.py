"""Decisions: what a policy is worth, who gets what under which limits, and rules that a person can read."""
