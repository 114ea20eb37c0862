"""Whether a generator would be measured on data that it made itself."""

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.errors import Refusal
from gptfl_bench.tasks.task import Task


def refuse_own_data(spec: CellSpec, task: Task) -> None:
    """Refuse synthetic data by a generator that made the task's data, too.

    What it leaves out or always makes alike is then missing from training and test, so the result
    would say nothing about recorded data. A generator that hands out what others made, such as
    ``folder``, tells their names in a property ``made_by``.

    Raises:
        Refusal: Naming the generator.
    """
    if not task.made_by or not spec.uses_synthetic:
        return
    name = spec.settings.synthetic.generator
    both = sorted({*getattr(spec.generator(), "made_by", (name,))}.intersection(task.made_by))
    if both:
        raise Refusal(
            f"the data of {task.name!r} were made by the generator {both[0]!r}, which would be "
            "measured on itself; choose another synthetic.generator, or recorded data."
        )
