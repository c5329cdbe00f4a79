"""Offline work: planted edits and the bench, evaluation, training of the small models."""
