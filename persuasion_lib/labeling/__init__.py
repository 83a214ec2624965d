"""Pairwise labels by people, and how far a judge agrees with them.

    items      what one annotator is shown, and in which order
    session    what was answered, without a screen
    opening    how a session begins: by a log, a stand-in or a file; the labels that it leaves
    events     the log behind a session: append-only, on disk before the next pair appears
    ranking    the same for more than two replies: items, session, log (ranking_widget, ranking.js)
    widget     the screen of a session in a notebook (widget.js, widget.css)
    app        the same screen as a page of its own, `persuasion label`
    summary    what the labels of a session say about themselves, and annotators two by two
    browse     labelled pairs as a table and in a widget, beside what a judge said of them
    agreement  judge against annotator, and the annotator against themselves
    alarms     what should alarm whoever reads that

Nothing here imports torch.
"""
