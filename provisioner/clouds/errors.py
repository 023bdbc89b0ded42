"""What goes wrong between us and a provider."""

from __future__ import annotations

from provisioner.secrets import mask

UNREACHABLE, UNAUTHORIZED, FORBIDDEN = "unreachable", "unauthorized", "forbidden"
TOO_MANY, OUT_OF_STOCK, GONE, REFUSED = "too_many", "out_of_stock", "gone", "refused"
CREDENTIALS = "credentials"


class CloudError(Exception):
    """What a provider said, or that it said nothing, and what to do. `code` is one of this
    file's."""

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(mask(message))
        self.code, self.advice = code, mask(advice)

    @property
    def ambiguous(self) -> bool:
        """Whether it may be that what was asked for was done all the same."""
        return self.code == UNREACHABLE
