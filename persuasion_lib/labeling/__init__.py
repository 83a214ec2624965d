"""Pairwise labelling by people: a session without a screen, its event log, and a widget on top."""
