"""SFT and DPO, checked before the first step, fast, resumable."""
