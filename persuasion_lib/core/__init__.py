"""What every room stands on: settings, records, files, stages. It imports no other room.

    errors     the errors that a user can do something about
    family     the models of the experiment: the one table to edit for a sixth
    sections, services  names and types of all settings; reads: the record of which were read
    config     five YAML files, a profile and overrides as one `Config`; layers, plain_yaml,
               overrides: its parts
    keys       API keys, which are in no setting, and where they may go
    rehearsal  who is a stand-in, and what follows; brought: what people bring in files
    named      runs beside each other; runs: all of them, and what a result is of
    fields     what absent, an id, a flag and a role mean in a row
    records    pairs, labels, prompts; the one place that knows the files' field names
    answers    what people and models chose in those, and the single votes of several people
    forms      rows of other tools as ours; foreign: files of any tool; hub: uploads, refusals
    reading    the one way in for text and JSON; appending, lazy: long logs that stay on disk
    store      atomic files, JSON lines, append-only logs that survive a kill
    pipeline   the stages and the files between them; the pools
    weights    the base model's weights: where they lie now, and what they are, by a hash
    manifest   what a stage ran with, and whether its results are still true
    replacing  what has finished is replaced on purpose only
    stage      a stage in progress: `run.read(name)`, `run.finish(...)`
    runner     the headless run; kernel, warm: of its notebooks; locks: who is at a stage
    progress   progress with time left
    show       tables of texts, pages to turn, the look of every figure; prose: words that wrap
    drawing    the pipeline with this run's counts
"""
