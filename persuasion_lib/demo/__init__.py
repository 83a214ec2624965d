"""The demo world: small offline stand-ins for corpus, model, judge, annotator and embedder."""
