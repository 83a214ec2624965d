"""The demo world: small offline stand-ins, and a truth that the statistics should recover.

    corpus      conversations, and the gold utility of a reply: the truth
    world.yaml  the phrases that conversations are made of
    forum       the dirt that a forum leaves in its texts, for cleaning to take out
    standins    judge, oracle, annotator and embedder, without a network and without torch
    model       the base model, pre-trained on the spot
"""
