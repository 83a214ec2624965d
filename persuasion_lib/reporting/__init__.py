"""From an evaluation to analysis, report and figures."""
