from persuasion_lib.judging.run import ask_all as ask_in_batches
