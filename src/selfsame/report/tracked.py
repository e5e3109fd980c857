"""What trackers get of a run with its curves."""

from __future__ import annotations

from selfsame.report.plots import png, training_plots
from selfsame.report.tables import read_evaluations
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_jsonl
from selfsame.run.records import DataRecord, read_record


def tracked(run: RunDirectory) -> tuple[dict[str, float], dict[str, bytes]]:
    """(results as `evaluate/<system>/<metric>`, rows of the data that were left out as `data/<why>`, a PNG of the main curves
    of each stage)."""
    data = read_record(run.data_path, DataRecord) if run.data_path.exists() else DataRecord()
    left_out = {"rejected": data.rejected, **data.removed}
    results = {f"data/{why}": float(count) for why, count in left_out.items()} | {
        f"evaluate/{system}/{metric}": estimate.value
        for system, record in read_evaluations(run, problems=[]).items()
        for metric, estimate in record.metrics.items()
        if estimate.value is not None
    }
    plots = [plot for plot in training_plots(read_jsonl(run.metrics_path)[0]) if plot.main]
    stages = dict.fromkeys(plot.stage for plot in plots)
    return results, {stage: png([plot for plot in plots if plot.stage == stage]) for stage in stages}
