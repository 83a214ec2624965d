"""Everything that is checked before a number is believed, in one table, for our files or another's.

    measured    what a check found: a figure and its worst example, or why it could not look
    texts       what a reply must not hold: markers, refusals, another language; languages
    models      do models differ, and does one descend from SFT, by their texts alone?
    yardsticks  oracle, prompts and blindness: is what replies are measured with sound?
"""
