"""The results of a run folder as metadata of a model card."""

from collections.abc import Sequence

from gptfl_reports.records.cells import Cell, mean
from gptfl_reports.records.errors import UsageError
from gptfl_reports.targets import by_task_and_method


def model_card(cells: Sequence[Cell]) -> str:
    """Return the results of finished cells as the ``model-index`` of a model card's metadata.

    One result a method and task, the mean over its seeds, in the form of Hugging Face's
    ``huggingface_hub.EvalResult``.

    Raises:
        UsageError: If no cell has finished, or a method has two settings on one task.
    """
    from huggingface_hub import EvalResult, ModelCardData

    finished = [cell for cell in cells if cell.ending.status == "finished"]
    results = []
    for (_, method), members in by_task_and_method(finished).items():
        record = members[0].record
        dataset = record["dataset"]["name"]
        last = [cell.evaluations[-1] for cell in members]
        modality = record["dataset"].get("modality", "image")
        kind = "image-classification" if modality == "image" else "audio-classification"
        for metric, values in (
            ("accuracy", [event.accuracy for event in last]),
            ("f1", [event.macro_f1 for event in last]),
        ):
            seeds = f"{len(members)} seed{'s' if len(members) > 1 else ''}"
            results.append(
                EvalResult(
                    task_type=kind,
                    dataset_type=dataset,
                    dataset_name=dataset,
                    dataset_args={"partition": members[0].row()["partition"]},
                    dataset_revision=record["dataset"]["sha256"],
                    metric_type=metric,
                    metric_value=mean(values),
                    metric_name=f"{'macro F1' if metric == 'f1' else metric} of {method}, {seeds}",
                    metric_args={"average": "macro"} if metric == "f1" else None,
                )
            )
    if not results:
        raise UsageError("no cell has finished yet, so there is nothing for a model card.")
    text = ModelCardData(model_name="gptfl-bench", eval_results=results).to_yaml()
    return text.rstrip("\n") + "\n"
