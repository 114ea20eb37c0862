"""When a method can't run on a task, with the sentence that stays in the tables."""

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World
from gptfl_bench.core.errors import Refusal
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import Need


def refuse_unmet(spec: CellSpec, world: World) -> None:
    """Refuse a method whose needs the task does not meet.

    Raises:
        Refusal: With what is missing, and the setting that lifts a mere convention.
    """
    needs, modality = spec.method.needs, world.task.modality
    if Need.FEATURES in needs and not world.networks.has_features:
        raise Refusal(f"{spec.name} needs {Need.FEATURES}; choose another model.")
    if spec.uses_public and spec.settings.public.source == "none":
        who = spec.name if Need.PUBLIC in needs else "buffers=recompute"
        raise Refusal(
            f"{who} needs {Need.PUBLIC}, and public.source=none leaves it without; choose "
            "public.source=synthetic or public.source=held_out."
        )
    shape = world.task.input_shape
    misshapen = Need.IMAGE_SHAPE in needs and len(shape) != 3
    if Need.IMAGES in needs and modality != "image" and not spec.settings.lift_conventions:
        advice = "set lift_conventions=true to run it all the same"
        raise Refusal(
            f"{spec.name} was published for {Need.IMAGES}, not for {modality}; "
            f"{'leave it out' if misshapen else advice}."
        )
    hidden = [need for need in (Need.REPLIES, Need.SAMPLES) if need in needs]
    if hidden and spec.settings.secure_aggregation:
        raise Refusal(
            f"{spec.name} needs {hidden[0]}, which secure aggregation hides from the server; "
            "set secure_aggregation=false."
        )
    if spec.uses_generator and spec.no_generator:
        raise Refusal(spec.no_generator)
    _refuse_own_data(spec, world.task)
    if misshapen:
        raise Refusal(f"{spec.name} makes {Need.IMAGE_SHAPE}, not of shape {shape}; leave it out.")


def _refuse_own_data(spec: CellSpec, task: Task) -> None:
    """Refuse synthetic data by a generator that made the task's data, too.

    What it leaves out or always makes alike is then missing from training and test, so the result
    would say nothing about recorded data. A generator that hands out what others made, such as
    ``folder``, tells their names in a property ``made_by``.

    Raises:
        Refusal: Naming the generator.
    """
    if not task.made_by or not spec.uses_generator:
        return
    name = spec.settings.synthetic.generator
    both = sorted({*getattr(spec.generator(), "made_by", (name,))}.intersection(task.made_by))
    if both:
        raise Refusal(
            f"the data of {task.name!r} were made by the generator {both[0]!r}, which would be "
            "measured on itself; choose another synthetic.generator, or recorded data."
        )
