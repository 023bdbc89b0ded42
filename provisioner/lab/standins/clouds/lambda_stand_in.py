"""A stand-in of Lambda's cloud API, after its OpenAPI document (version 1.10)."""

from __future__ import annotations

from typing import Any

from provisioner.lab.standins.clouds.cloud_stand_in import (
    Answer,
    CloudStandIn,
    Json,
    LoseAnswer,
    Machine,
    Power,
)

API_KEY = "lambda-stand-in-key"
TYPES = {"gpu_1x_a10": (75, 1, ["us-east-1", "us-west-1"]), "gpu_8x_h100_sxm5": (2392, 8, [])}
MOST_USER_DATA = 1 << 20  # bytes


class LambdaStandIn(CloudStandIn):
    """One account, with the API key `API_KEY`."""

    prefix = "/api/v1"

    def __init__(self, power: Power | None = None) -> None:
        super().__init__(power)
        self.keys: dict[str, Json] = {}

    def authorized(self, method: str, target: str, headers: Any) -> bool:
        return bool(headers.get("Authorization") == f"Bearer {API_KEY}")

    def refusal(self, status: int, code: str, message: str) -> Json:
        return {"error": {"code": code, "message": message, "suggestion": "See the docs."}}

    def answer(self, method: str, path: str, query: dict[str, str], body: Json) -> Answer:
        if (method, path) == ("GET", "/instances"):
            shown = [self._shown(each) for each in self.running()]
            return 200, {"data": [each for each in shown if each["status"] != "terminated"]}
        if (method, path) == ("GET", "/instance-types"):
            return 200, {"data": {name: self._type(name) for name in TYPES}}
        if path.startswith("/ssh-keys"):
            return self._ssh_keys(method, path, body)
        if (method, path) == ("POST", "/instance-operations/launch"):
            return self._launch(body)
        if (method, path) == ("POST", "/instance-operations/terminate"):
            return self._terminate(body["instance_ids"])
        return 404, self.refusal(404, "global/object-does-not-exist", f"No {path}.")

    def _launch(self, body: Json) -> Answer:
        keys, kind = body["ssh_key_names"], body["instance_type_name"]
        if len(keys) != 1 or keys[0] not in self.keys or kind not in TYPES:
            message = f"Bad launch of {kind} with keys {keys}."
            return 400, self.refusal(400, "global/invalid-parameters", message)
        if len(body.get("user_data", "")) > MOST_USER_DATA:
            return 400, self.refusal(400, "global/invalid-parameters", "user_data is too long.")
        if self.faults.out_of_stock or body["region_name"] not in TYPES[kind][2]:
            code = "instance-operations/launch/insufficient-capacity"
            return 400, self.refusal(400, code, "Not enough capacity to fulfill launch request.")
        machine = self.boot(
            Machine(
                name=body["name"],
                type=kind,
                region=body["region_name"],
                login_key=self.keys[keys[0]]["public_key"],
                user_data=body.get("user_data", ""),
                tags=body.get("tags", []),
            )
        )
        if self.faults.lose_answer:
            self.faults.lose_answer = False
            raise LoseAnswer
        return 200, {"data": {"instance_ids": [machine.id]}}

    def _terminate(self, ids: list[str]) -> Answer:
        known = [self.machines[each] for each in ids if each in self.machines]
        if len(known) < len(ids) or any(each.ended for each in known):
            message = "Specified instance does not exist."
            return 404, self.refusal(404, "global/object-does-not-exist", message)
        for each in known:
            self.end(each)
        return 200, {"data": {"terminated_instances": [self._shown(each) for each in known]}}

    def _ssh_keys(self, method: str, path: str, body: Json) -> Answer:
        if method == "GET":
            return 200, {"data": list(self.keys.values())}
        if method == "POST":
            key = {"id": f"key-{body['name']}", **body}
            self.keys[body["name"]] = key
            return 200, {"data": key}
        self.keys = {n: key for n, key in self.keys.items() if key["id"] != path.split("/")[-1]}
        return 200, {"data": {}}

    def _type(self, name: str) -> Json:
        cents, gpus, regions = TYPES[name]
        kind = {
            "name": name,
            "description": f"{gpus}x",
            "gpu_description": "A10 (24 GB PCIe)" if gpus == 1 else "H100 (80 GB SXM5)",
            "price_cents_per_hour": cents,
            "specs": {"vcpus": 30, "memory_gib": 200, "storage_gib": 1400, "gpus": gpus},
        }
        shown = [{"name": region, "description": "Somewhere"} for region in regions]
        return {"instance_type": kind, "regions_with_capacity_available": shown}

    def _shown(self, machine: Machine) -> Json:
        address = self.looked_at(machine)
        status = "terminated" if machine.ended else "active" if machine.address else "booting"
        shown = {
            "id": machine.id,
            "status": status,
            "region": {"name": machine.region, "description": "Somewhere"},
            "instance_type": self._type(machine.type)["instance_type"],
            "ssh_key_names": [],
            "jupyter_token": "jupyter-token-of-the-stand-in",
        }
        if self.faults.sparse:
            return {"id": machine.id, "status": status}
        shown |= {"name": machine.name, "hostname": machine.name, "tags": machine.tags}
        return shown | ({"ip": address, "private_ip": "10.19.0.5"} if address else {})
