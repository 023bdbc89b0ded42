"""A stand-in of Crusoe's cloud API, after its documents and the clients that others wrote."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import unquote, urlsplit

from provisioner.lab.standins.clouds.cloud_stand_in import (
    Answer,
    CloudStandIn,
    Json,
    LoseAnswer,
    Machine,
    Power,
)

ACCESS_KEY, SECRET_KEY = "crusoe-stand-in", base64.urlsafe_b64encode(b"a stand-in's?>").decode()
PROJECT = "3f2c0000-0000-4000-8000-00000000abcd"
TYPES = {"a100-80gb.1x": ("A100-PCIe-80GB", 1), "c1a.2x": ("", 0)}
LOCATION = "us-east1-a"
PAGE = 2  # VMs on one page


class CrusoeStandIn(CloudStandIn):
    """One project, with the keys of this file."""

    prefix = "/v1"

    def __init__(self, power: Power | None = None) -> None:
        super().__init__(power)
        self.operations: dict[str, Json] = {}

    def authorized(self, method: str, target: str, headers: Any) -> bool:
        parts, time = urlsplit(target), headers.get("X-Crusoe-Timestamp")
        query = "&".join(sorted(unquote(each) for each in parts.query.split("&")))
        signed = f"{parts.path}\n{query}\n{method}\n{time}\n".encode()
        secret = base64.urlsafe_b64decode(SECRET_KEY)
        digest = base64.urlsafe_b64encode(hmac.new(secret, signed, hashlib.sha256).digest())
        wanted = f"Bearer 1.0:{ACCESS_KEY}:{digest.decode().rstrip('=')}"
        return bool(headers.get("Authorization") == wanted)

    def refusal(self, status: int, code: str, message: str) -> Json:
        return {"code": code, "message": message}

    def answer(self, method: str, path: str, query: dict[str, str], body: Json) -> Answer:
        if (method, path) == ("GET", "/capacities"):
            return 200, {"items": [{"type": t, "location": LOCATION, "quantity": 3} for t in TYPES]}
        room, _, rest = path.removeprefix(f"/projects/{PROJECT}").partition("/compute/vms/")
        if room or not rest:
            return 404, self.refusal(404, "not_found", f"no {path}")
        if (method, rest) == ("GET", "types"):
            return 200, {
                "items": [
                    {"product_name": name, "gpu_type": gpu, "num_gpu": count, "cpu_cores": 8}
                    for name, (gpu, count) in TYPES.items()
                ]
            }
        what, _, name = rest.partition("/")
        if what != "instances":
            return 404, self.refusal(404, "not_found", f"no {path}")
        if name.startswith("operations/"):
            return 200, self._progressed(name.partition("/")[2])
        if name:
            return self._delete(name)
        return self._create(body) if method == "POST" else self._list(query)

    def _list(self, query: dict[str, str]) -> Answer:
        every = self.running()
        begin = int(query.get("next_token") or 0)
        shown = [self._shown(each) for each in every[begin : begin + PAGE]]
        more = begin + PAGE < len(every)
        return 200, {"items": shown, **({"next_page_token": str(begin + PAGE)} if more else {})}

    def _create(self, body: Json) -> Answer:
        lacking = [key for key in ("name", "type", "location", "ssh_public_key") if key not in body]
        if lacking or body["type"] not in TYPES:
            return 400, self.refusal(400, "bad_request", f"lacking {lacking}, or a bad type")
        if any(each.name == body["name"] for each in self.running()):
            return 409, self.refusal(409, "already_exists", f"{body['name']} exists")
        if self.faults.out_of_stock:
            return 200, self._begun("FAILED", self.refusal(0, "out_of_stock", "none is left"))
        machine = self.boot(
            Machine(
                name=body["name"],
                type=body["type"],
                region=body["location"],
                login_key=body["ssh_public_key"],
                user_data=body.get("startup_script", ""),
            )
        )
        if self.faults.lose_answer:
            self.faults.lose_answer = False
            raise LoseAnswer
        return 200, self._begun("SUCCEEDED", {"id": machine.id})

    def _delete(self, box_id: str) -> Answer:
        machine = self.machines.get(box_id)
        if machine is None or machine.ended:
            return 404, self.refusal(404, "not_found", "instance not found")
        self.end(machine)
        return 200, self._begun("SUCCEEDED", {})

    def _begun(self, end: str, result: Json) -> Json:
        """An operation that is at its end when it is asked for."""
        operation_id = f"operation-{len(self.operations)}"
        self.operations[operation_id] = {
            "operation_id": operation_id,
            "state": end,
            "result": result,
        }
        return {"operation": {"operation_id": operation_id, "state": "IN_PROGRESS"}}

    def _progressed(self, operation_id: str) -> Json:
        return self.operations[operation_id]

    def _shown(self, machine: Machine) -> Json:
        address = self.looked_at(machine)
        state = "RUNNING" if machine.address else "CREATING"
        shown: Json = {"id": machine.id, "state": f"STATE_{state}", "name": machine.name}
        if self.faults.sparse:
            return shown
        public = {"public_ipv4": {"address": address}} if address else {}
        addresses = {"private_ipv4": {"address": "172.27.0.5"}, **public}
        return shown | {
            "type": machine.type,
            "location": machine.region,
            "network_interfaces": [{"ips": [addresses]}],
        }
