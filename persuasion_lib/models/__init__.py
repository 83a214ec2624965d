"""Models: loading, composing, sampling, and the lineage of checkpoints.

    loading     the base model, its tokenizer, the one prompt builder
    gguf        a base model from a file of llama.cpp, converted once
    folder      is a folder a whole base model? found out from its files
    chat        chat templates, made fit for every dialogue, or refused
    check       what is asked of a base model before the first hour of training
    lineage     what a checkpoint was trained on, by hashes
    compose     adapters side by side on one base
    frozen_adapter  SFT under the adapters that are trained on it
    fused_lora  a layer and its adapters as one product
    fluency     how surprising replies are to a model
    sampling    replies: batched, resumable, the same whatever is in the batch
    room        how much memory there is
    export      one model as a folder for plain transformers
    cards       what a folder of weights says of itself
"""
