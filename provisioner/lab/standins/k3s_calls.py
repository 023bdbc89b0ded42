"""A call of the stand-in's API: who asks for what, whether he may, and how it is refused."""

from __future__ import annotations

from dataclasses import dataclass

# What the manifest's Role grants to the gateway's ServiceAccount, in namespace default.
_GRANTED = {"jobs": {"create", "get", "list", "delete"}, "pods": {"list"}, "pods/log": {"get"}}
ADMIN = "system:admin"


class Failure(Exception):
    """An answer that is a Kubernetes Status of failure."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }


@dataclass(frozen=True)
class Request:
    """One call on a resource, as Kubernetes names its parts."""

    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    @property
    def kind(self) -> str:
        resource = self.resource.partition("/")[0]
        return f"{resource}.{self.group}" if self.group else resource

    def missing(self) -> Failure:
        return Failure(404, "NotFound", f'{self.kind} "{self.name}" not found')

    def check_permitted(self) -> None:
        """Refuse what neither the administrator nor the gateway's Role may do."""
        here = self.namespace == "default"
        if self.user == ADMIN or (here and self.verb in _GRANTED.get(self.resource, ())):
            return
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        name = f' "{self.name}"' if self.name else ""
        raise Failure(
            403,
            "Forbidden",
            f'{self.kind}{name} is forbidden: User "{self.user}" cannot {self.verb} resource '
            f'"{self.resource}" in API group "{self.group}" {where}',
        )
