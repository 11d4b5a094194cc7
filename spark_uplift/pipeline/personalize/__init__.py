"""Personalization tests: start a test, learn from it, send each his own, measure what that gained."""
