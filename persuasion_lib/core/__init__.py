"""What every room stands on: settings, records, files, stages. It imports no other room.

    errors     the errors that a user can do something about
    family     the models of the experiment: the one table to edit for a sixth
    sections   names and types of all settings, and the record of which were read
    config     five YAML files, a profile and overrides as one `Config`
    keys       API keys, which are in no setting
    records    pairs, labels, prompts; the one place that knows the files' field names
    store      atomic files, JSON lines, append-only logs that survive a kill
    pipeline   the stages and the files between them; the pools
    manifest   what a stage ran with, and whether its results are still true
    stage      a stage in progress: `run.read(name)`, `run.finish(...)`
    runner     the headless run
    progress   progress with time left
    show       tables of texts, pages to turn, the look of every figure
"""
