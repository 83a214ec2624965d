"""Everything that is checked before a number is believed, in one table, for our files or another's.

    measured    what a check found: a figure and its worst example, or why it could not look
"""
