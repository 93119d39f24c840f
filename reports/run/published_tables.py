"""The tables that comparisons of ports publish, for the templates `run_*.md.j2`; None without their records."""

from reports.run.claims import claims_table
from reports.run.convergence import convergence_table
from reports.run.loss_table import loss_table
from reports.run.records import RunRecords
from reports.run.throughput import throughput_table


def published_tables(run: RunRecords) -> dict[str, str | None]:
    """Every table by its name in the templates."""
    return {
        "loss": loss_table(run),
        "convergence": convergence_table(run),
        "throughput": throughput_table(run),
        "claims": claims_table(run),
    }
