"""The tables that comparisons of ports publish, for the templates `run_*.md.j2`; None without their records."""

from typing import Any

from reports.run.claims import claims_table
from reports.run.convergence import convergence_table
from reports.run.error_types import error_table
from reports.run.loss_table import loss_table
from reports.run.matches import score_threshold
from reports.run.per_class import class_tables
from reports.run.records import RunRecords
from reports.run.statistics import statistics_tables
from reports.run.throughput import throughput_table


def published_tables(run: RunRecords) -> dict[str, Any]:
    """Every table by its name in the templates."""
    return {
        "statistics": statistics_tables(run),
        "classes": class_tables(run),
        "errors": error_table(run),
        "threshold": score_threshold(run),
        "loss": loss_table(run),
        "convergence": convergence_table(run),
        "throughput": throughput_table(run),
        "claims": claims_table(run),
    }
