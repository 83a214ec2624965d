"""`make gpu-bundle`: the wheels that benchmarks/gpu.sh needs beyond PyTorch, in one folder.

They are those of this environment, for Python 3.12 on Linux with an x86-64 processor. pyarrow is
left out: with its 52 MiB the folder would be twice as large, and machines with PyTorch have it.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOTS = ("trl", "peft", "transformers", "pandas", "psutil", "pydantic", "pyyaml", "python-dotenv",
         "filelock", "jinja2")
BESIDE = ("liger-kernel",)      # trl's fastest layers; what it needs comes with PyTorch for GPUs
LEFT_OUT = {"torch", "pyarrow", "hf-xet"}       # the last is for downloads
PLATFORMS = ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
LIMIT_MIB = 60


def main(folder: Path) -> None:
    """Download the wheels; refuse a folder that is too large to carry along.

    Raises:
        SystemExit: it is larger than LIMIT_MIB.
    """
    platforms = [option for version in PLATFORMS
                 for option in ("--platform", f"manylinux_{version}_x86_64")]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                    "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp",
                    *platforms, "--platform", "manylinux2014_x86_64", "--dest", str(folder),
                    *pinned(), *BESIDE], check=True)
    wheels = list(folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    print(f"{folder}: {len(wheels)} wheels, {size:.1f} MiB")
    if size > LIMIT_MIB:
        raise SystemExit(f"more than {LIMIT_MIB} MiB. Was the folder empty before?")


def pinned() -> list[str]:
    """ROOTS with all that they need, in the versions of this environment."""
    found: dict[str, str] = {}
    waiting = list(ROOTS)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found or name in LEFT_OUT:
            continue
        package = importlib.metadata.distribution(name)
        found[name] = package.version
        needs = map(Requirement, package.requires or [])
        waiting += [need.name for need in needs
                    if need.marker is None or need.marker.evaluate({"extra": ""})]
    return sorted(f"{name}=={version}" for name, version in found.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
