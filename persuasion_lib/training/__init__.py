"""Training: SFT and DPO by trl, checked before the first step, fast, resumable.

    sft, dpo         the two trainings
    labels           which labels DPO learns from; step_zero: what it must begin as
    once             no training is done twice
    loop             what they share: arguments, resuming, saving
    shared_prefix    DPO's fast engine; reference_cache: the reference, computed once
    packed           SFT's fast engine; completion_head: the head of both
    callbacks        progress, validation at the end, live curves
    history          what was logged, and trl's names for it; curves: its figures
    worked           one pair by hand, and which of its tokens teach
    drift            how far the policy moved, and alarms
    memory           an estimate of the peak
    launch, worker   training in several processes
    adopt            somebody's own SFT adapter
"""
