"""Pairwise labels by people, and how far a judge agrees with them.

    items      what one annotator is shown, and in which order
    sitting    what was answered and what is next, whatever is shown
    session    the same of pairs, without a screen
    opening    how a session begins: by a log, a stand-in or a file; the labels that it leaves
    sources    whose labels notebook 02 works with: of one person or of several
    shares     which pairs each of several annotators is asked about
    panel      several annotators: their sessions, their disagreements, the labels that follow
    votes      one label of what several people said, and what each of them said
    events     the log behind a session: append-only, on disk before the next pair appears
    ranking    the same for more than two replies: items, session, log (ranking_widget, ranking.js)
    widget     the screen of a session in a notebook (screen.js, widget.js, widget.css)
    chooser    the same for several: who is there, and disagreements to be settled
    difference the words in which two nearly identical replies differ
    app        the same screen as a page of its own, `persuasion label`
    summary    what the labels of a session say about themselves, and annotators two by two
    browse     labelled pairs as a table and in a widget, beside what a judge said of them
    agreement  judge against annotator, and the annotator against themselves
    people     how far several annotators agree
    alarms     what should alarm whoever reads that

Nothing here imports torch.
"""
