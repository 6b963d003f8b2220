"""Everything Waypost raises on purpose.

WaypostError
  WireError     bytes break the format              counted and dropped
  RemoteError   a peer broke the rules              becomes a reply or an effect
  UnreachableError  a peer did not answer           exit code 3
  DeniedError   somebody is not who they say, or may not  exit code 4
  StateError    we were asked for what cannot be now  raised to the caller
  StoreError    the disk broke its promise          the node stops
  ConfigError   the configuration is wrong          exit code 2
  ProofError    what should be proved is not so     exit code 5

A message is one sentence, lower case, without a full stop; `hint` says what a person can do.
A bug of ours is none of these: AssertionError, OverflowError and TypeError stay what they are.
"""


class WaypostError(Exception):
    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class WireError(WaypostError):
    """Bytes break the format."""


class RemoteError(WaypostError):
    """A peer broke the rules; `code` is the protocol's own number for it."""

    def __init__(self, message: str, *, code: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class UnreachableError(WaypostError):
    """A peer did not answer, or what answered does not speak the protocol."""


class DeniedError(WaypostError):
    """Somebody is not who they say they are, or may not do this; the message says why."""


class StateError(WaypostError):
    """We were asked for what is not possible now."""


class StoreError(WaypostError):
    """The disk did not keep its promise; whoever sees this stops the node."""


class ConfigError(WaypostError):
    """The configuration is wrong; the message says where."""


class ProofError(WaypostError):
    """What was to be proved is not so: octets are not those that were signed or hashed."""
