"""From corpora and files to prompts and pairs, and the gates that they pass."""
