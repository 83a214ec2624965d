"""Results as JSON can hold them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def plain(value: Any) -> Any:
    """Tables, arrays and NaN as what JSON can hold: lists of rows, numbers and None."""
    if isinstance(value, pd.DataFrame):
        named = value.reset_index() if value.index.name else value
        return plain(named.to_dict("records"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
