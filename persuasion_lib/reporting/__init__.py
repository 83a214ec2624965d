"""From an evaluation, whoever made it, to tables, statements, figures and a report.

    evaluation_file   the fields of final_evaluation.json; reads and writes it
    setup             its `config`: who played which role
    evaluation_rows   what notebook 05 found, as rows of that file
    evaluated         the file as tables of prompts x models
    suspicions        what is odd about a file
    tables, measures  the content of analysis.json: what follows from the rankings; the rest
    judge_health      is the judge sound, and what to know before believing it?
    verdict           the answer, the stand-ins behind it, and what it cannot say
    panel             several judges side by side, and how far they agree
    human_reply       the models against what a person really wrote
    people            what people say of the declared comparison
    checked           what the checks found: first lines, table, no verdict
    criteria          the success criteria of the specification
    wording           how numbers are worded
    parts_people, parts_rankings, parts_replies   the parts of the report
    report, page, qualitative       the report as text, as HTML (report.html.j2), and its examples
    figures           the figures of the report
    site              executed notebooks and report as pages
    browse            single examples in notebook 06
"""
