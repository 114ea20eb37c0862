"""What a method needs and makes, in the words of the paper's Table 1, derived from its code."""

from gptfl_bench.engine.method import Method, Need


def profile(method: Method) -> dict[str, str]:
    """Return a method's row of Table 1 by column, a wrapper's with what the wrapped method adds.

    Secure aggregation is left out, for it is observed, not declared. The values are the paper's
    own words in lower case, where it has one; ``generated`` says in words what is generated, and
    only a reference, which is no federated method, has ``reference``.
    """
    needs, made = method.needs, method.generates
    places = {part.at for part in made}
    external = "generated data" if made else "no"
    row = {
        "external_data": "public data" if Need.PUBLIC in needs else external,
        "limited_to_small_models": _word(Need.SMALL_MODEL in needs),
        "generates_during_fl": "n/a",
        "generator_location": "n/a",
        "client_access": "n/a",
        "modalities": "only image" if Need.IMAGES in needs else "any",
        "generated": "; ".join(part.what for part in made),
    }
    if made:
        row["generates_during_fl"] = _word(any(part.during_fl for part in made))
        row["generator_location"] = next((p for p in ("client", "server") if p in places), "none")
    if Need.SAMPLES in needs:
        row["reference"] = "yes"
    if row["external_data"] != "no":
        required = Need.PUBLIC_AT_CLIENTS in needs or "client" in places
        row["client_access"] = "required" if required else "not required"
    return row


def _word(holds: bool) -> str:
    return "yes" if holds else "no"
