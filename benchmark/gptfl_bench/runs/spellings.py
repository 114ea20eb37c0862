"""What people write for a setting, and the setting it is."""

from collections.abc import Iterable

from gptfl_bench.core.errors import UsageError, unknown

_MEANT = {
    "plan.lr": "learning_rate local_lr client_lr eta",
    "plan.epochs": "epochs local_epochs num_epochs e",
    "plan.batch_size": "batchsize bs local_bs local_batch_size b",
    "plan.weight_decay": "wd",
    "cohort_size": "fraction frac fraction_fit join_ratio participation clients_per_round "
    "client_fraction sample_ratio m c",
    "num_clients": "clients n_clients num_users client_num_in_total k n_parties",
    "rounds": "num_rounds comm_round comm_rounds global_rounds communication_rounds t",
    "partition.alpha": "dirichlet_alpha dirichlet beta dir_alpha",
    "model": "network net arch architecture",
    "--seeds": "seed seeds random_seed",
    "--methods": "method methods algorithm algo strategy",
    "--dataset": "dataset data_set ds",
    "--preset": "preset",
    "--out": "out output out_dir output_dir",
    "--launcher": "launcher",
    "--processes": "processes n_jobs num_processes",
}
_SHOWN = 3
"""Settings that a sentence names at most."""


def unknown_setting(key: str, known: Iterable[str]) -> UsageError:
    """Return the error for a setting that does not exist, with the one that was meant."""
    lowered = key.lower()
    meant = next((right for right, words in _MEANT.items() if lowered in words.split()), "")
    ends = sorted((name for name in known if name.endswith(f".{lowered}")), key=_general)
    # A run's own setting is meant before those of single methods.
    ends = [name for name in ends if not _general(name)[0]] or ends
    if meant.startswith("--"):
        return UsageError(
            f"{key!r} is no setting: give it as {meant} before the settings; from Python, "
            f"{meant[2:]}=."
        )
    if meant or ends:
        right = " or ".join(f"{name}=" for name in ([meant] if meant else ends[:_SHOWN]))
        extra = _EXTRA.get(meant or ends[0], "")
        return UsageError(
            f"unknown setting {key!r}: write {right}{extra} (gptfl-bench run --cfg prints all "
            "settings)."
        )
    return unknown("setting", key, known, "gptfl-bench run --cfg prints all settings")


_EXTRA = {
    "plan.epochs": ", or plan.steps= for a number of batches",
    "cohort_size": ", a number of clients or a share of them such as 0.1",
}


def _general(name: str) -> tuple[bool, int, str]:
    """Return the place of a setting among those of the same last part: the run's own first."""
    return (name.startswith(("methods.", "warm.")), name.count("."), name)


def no_setting(text: str, methods: Iterable[str]) -> UsageError:
    """Return the error for a word that is no ``key=value``, such as a second method."""
    key, sign, value = text.partition("=")
    if sign and (key.strip() != key or not key or value.strip() != value):
        right = f"{key.strip() or 'key'}={value.strip()}"
        return UsageError(f"{text!r} is no setting; write it without blanks, as {right}.")
    word = text.strip(", ")
    if word.isdecimal():
        return UsageError(f"{text!r} is no setting; seeds are listed with commas: --seeds 0,1,2.")
    if word.split("+")[0].removesuffix("-ablated") in {*methods, "all", "ablations"}:
        return UsageError(
            f"{text!r} is no setting; methods are listed with commas: --methods fedavg,{word}."
        )
    return UsageError(
        f"{text!r} is no setting; write key=value (gptfl-bench run --cfg prints them all)."
    )


def check_epochs(key: str, value: object) -> None:
    """Refuse a part of an epoch with what to write instead.

    Raises:
        UsageError: If epochs are no whole number.
    """
    if key.split(".")[-1] == "epochs" and isinstance(value, float) and not value.is_integer():
        steps = key.removesuffix("epochs") + "steps"
        raise UsageError(
            f"{key}={value} does not fit: epochs are whole; for a part of one write {steps}=N, the "
            "number of batches."
        )
