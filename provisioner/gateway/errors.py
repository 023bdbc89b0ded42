"""What can be wrong between us and a gateway, said so that one knows what to do."""

from __future__ import annotations

ADMIN_ADVICE = "gateway.admin_token must be the cluster admin's token of this gateway"


class GatewayError(Exception):
    """A call to the gateway failed.

    `code` is stable: unreachable, not_a_gateway, unhealthy, bad_admin_token, not_admin,
    bad_pool, local_pool, pools_unready, refused.
    """

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} ({self.advice})" if self.advice else self.message


def unreachable(base_url: str, why: str) -> GatewayError:
    """Nobody answered."""
    return GatewayError(
        "unreachable",
        f"the gateway does not answer at {base_url}: {why}",
        "check that the gateway runs, and gateway.api (as seen from its host) or gateway.url",
    )


def not_a_gateway(base_url: str, what: str) -> GatewayError:
    """Somebody answered, not as a gateway would."""
    return GatewayError(
        "not_a_gateway", f"{base_url}: {what}", "is that the Beta9 gateway's HTTP address?"
    )


def bad_admin_token() -> GatewayError:
    """401: no token of this gateway."""
    return GatewayError(
        "bad_admin_token", "the gateway does not know the admin token", ADMIN_ADVICE
    )


def not_admin() -> GatewayError:
    """A good token, of a machine or of another workspace."""
    return GatewayError(
        "not_admin",
        "the token is not a cluster admin's: a machine's token administers nothing",
        ADMIN_ADVICE,
    )


def bad_pool(pool: str, known: list[str]) -> GatewayError:
    """The pool is not configured; `known` are the ones that are, as far as can be told."""
    pools = f"; pools: {', '.join(known)}" if known else ""
    return GatewayError(
        "bad_pool",
        f"pool {pool!r} is not configured at the gateway{pools}",
        "add it under worker.pools of the gateway's configuration, or name another",
    )


def local_pool(pool: str) -> GatewayError:
    """The pool is the gateway's own cluster: it has no machines, and a delete would crash it."""
    return GatewayError(
        "local_pool",
        f"pool {pool!r} is local to the gateway's own cluster and takes no machines",
        "name a pool that has a provider in the gateway's configuration",
    )


def pools_unready(message: str) -> GatewayError:
    """The list of pools fails as a whole while one of them never had a worker."""
    return GatewayError(
        "pools_unready",
        f"the gateway can't list its pools yet: {message}",
        "it can once every configured pool has had a worker; machines work all the same",
    )
