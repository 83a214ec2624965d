"""The demo world: small offline stand-ins, and a truth that the statistics should recover.

    corpus      conversations, and the gold utility of a reply: the truth
    world.yaml  the phrases that conversations are made of
    standins    judge, oracle, annotator and embedder, without a network and without torch
    model       the base model, pre-trained on the spot
"""
