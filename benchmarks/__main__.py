"""`make bench`: measure, print the table, write results/bench/bench.json.

`make bench PART=labelling` measures one part; the results of the others stay in the file.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import analysis, demo, dpo, generation, labelling, sft
from persuasion_lib.core.store import read_json, write_json

PARTS = {"demo": lambda: [demo.demo_minutes()], "seeds": demo.gold_by_seed,
         "sft": sft.run, "dpo": dpo.run, "generation": generation.run, "labelling": labelling.run,
         "analysis": lambda: [analysis.analysis_100k_seconds()]}
OUTPUT = Path(__file__).resolve().parent.parent / "results" / "bench" / "bench.json"


def main(part: str | None) -> None:
    """Measure one part, or all, and merge the results by name."""
    if part is not None and part not in PARTS:
        raise SystemExit(f"no part {part!r}. There are: {', '.join(PARTS)}.")
    known = read_json(OUTPUT, made_by="make bench")["results"] if OUTPUT.exists() else []
    results = {result["name"]: result for result in known}
    for name in [part] if part else PARTS:
        results |= {result["name"]: result for result in PARTS[name]()}
        write_json(OUTPUT, {"machine": _machine(), "versions": _versions(),
                            "results": list(results.values())})
    table = pd.DataFrame(results.values())
    print(table.reindex(columns=["name", "value", "unit", "goal", "met"]).to_string(index=False))
    print(OUTPUT)


def _machine() -> dict[str, Any]:
    return {"system": platform.platform(), "processor": platform.processor(),
            "cores": os.cpu_count()}


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "trl", "peft", "scipy", "anthropic", "openai")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
