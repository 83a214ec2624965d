"""Everything that is checked before a number is believed, in one table, for our files or another's.

    registry    the table: a row a check, with its limit, where that comes from, and the remedy
    check       what a row is, and how it is asked
    adopted     rows for gates, alarms, suspicions and health
    material    what checks look at, made of rows and evaluations
    measured    what a check found: a figure and its worst example, or why it could not look
    audit       which checks somebody's files allow: `persuasion audit`
    pools       do rows count as often as they seem to?
    people      did the person read? rankings: or rank?
    consistent  do files that belong together say the same? belonging: which do
    judge       does the judge judge?
    training    did DPO begin where it must, and learn something?
    texts       what a reply must not hold: entities, markers, roles, refusals, one text for all
    languages   which of some common languages a text is in
    models      are the models those that they are called, as far as their texts tell?
    yardsticks  oracle, test prompts, and a judge that must be blind
    similarity  do replies answer, and do similarities to the oracle measure anything?
"""
