"""What can go wrong in a protocol run, by name."""


class ProtocolError(Exception):
    """A message or a share that an honest party would not have sent; it was not taken in."""


class WrongRoundError(ProtocolError):
    """A message of another session, such as one that is sent again."""


class WrongStageError(ProtocolError):
    """A message or a step that does not belong to the stage that is open."""


class UnknownSenderError(ProtocolError):
    """A sender that is not in the cohort, or that had left it."""


class DuplicateMessageError(ProtocolError):
    """A second message of a sender in one stage."""


class MalformedMessageError(ProtocolError):
    """Names, shapes or types of tensors that the message does not have."""


class EntryRangeError(ProtocolError):
    """Entries of a vector outside the ring."""


class WrongClientsError(ProtocolError):
    """A message about other clients than the ones it has to name."""


class MalformedKeyError(ProtocolError):
    """A public key with which no secret can be agreed on."""


class ForgedShareError(ProtocolError):
    """A sealed share that its sender did not seal for this receiver in this session."""


class MalformedShareError(ProtocolError):
    """A share that is no element of the field."""


class DuplicateShareError(ProtocolError):
    """Two shares at one point."""


class TooFewSharesError(ProtocolError):
    """Fewer shares than the threshold."""


class InconsistentSharesError(ProtocolError):
    """Shares that do not add up to a secret, so that one of them is wrong."""
