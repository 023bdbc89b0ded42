"""The gateway's least-privilege Role on a real kube-apiserver, and on the stand-in alike."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from k3s_server import JOBS, MANIFEST, PODS, TOKEN_SECRET, K3s, gateway_job
from real_servers import Mirror, accepts, eventually

from provisioner.agent.http import Endpoint
from provisioner.agent.log import Log
from provisioner.agent.pods import Pod, Pods, counts

pytestmark = [
    pytest.mark.usefixtures("own_network"),
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]

SELECTOR = "?labelSelector=" + quote("run.beam.cloud/role=worker,run.beam.cloud/worker-pool-name=")


@pytest.fixture(scope="module", params=["real", "standins"])
def k3s(
    own_network: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[K3s]:
    """A running k3s with the gateway's manifest."""
    mirror: Mirror = request.getfixturevalue(request.param)
    server = K3s(mirror.file("k3s"), tmp_path_factory.mktemp("k3s") / request.param, 6443)
    with server.running():
        yield server


@pytest.fixture(scope="module")
def token(k3s: K3s) -> str:
    """The gateway's token, once the Secret has it."""
    eventually(lambda: k3s.token() != "", "the Secret has a token")
    return k3s.token()


def test_the_kubeconfig_is_for_root_alone(k3s: K3s) -> None:
    assert stat.S_IMODE(k3s.kubeconfig.stat().st_mode) == 0o600


def test_a_dry_run_admits_the_gateways_job_and_keeps_nothing(k3s: K3s, token: str) -> None:
    answer = k3s.call("POST", f"{JOBS}?dryRun=All", token, gateway_job("worker-gpu-dry"))
    assert answer.status_code == 201, answer.text
    assert k3s.call("GET", f"{JOBS}/worker-gpu-dry", token).status_code == 404


def test_the_gateway_creates_lists_and_deletes_its_jobs(k3s: K3s, token: str) -> None:
    job = gateway_job("worker-gpu-1")
    assert k3s.call("POST", JOBS, token, job).status_code == 201
    again = k3s.call("POST", JOBS, token, job)
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    names = [
        i["metadata"]["name"]
        for i in k3s.call("GET", JOBS + SELECTOR + "gpu", token).json()["items"]
    ]
    assert names == ["worker-gpu-1"]
    assert k3s.call("GET", JOBS + SELECTOR + "cpu", token).json()["items"] == []
    pods = f"{PODS}?labelSelector=job-name%3Dworker-gpu-1"
    eventually(lambda: len(k3s.call("GET", pods, token).json()["items"]) == 1, "the job has a pod")
    assert k3s.call("DELETE", f"{JOBS}/worker-gpu-1", token).status_code == 200
    gone = f"{JOBS}/worker-gpu-1"
    eventually(lambda: k3s.call("GET", gone, token).status_code == 404, "the job is gone")


def test_the_agent_learns_of_the_gateways_pods(k3s: K3s, token: str) -> None:
    """Those of the job that was deleted before may still be there."""
    assert k3s.call("POST", JOBS, token, gateway_job("worker-gpu-2")).status_code == 201
    endpoint = Endpoint("127.0.0.1", k3s.port, True, k3s.authority())
    pods = Pods(endpoint, token, Log())

    def of_the_job() -> list[Pod]:
        return [pod for pod in pods.now() if pod.name.startswith("worker-gpu-2-")]

    try:
        eventually(lambda: len(of_the_job()) == 1, "the job has a pod")
        [pod] = of_the_job()
        assert (pod.status, pod.ready, pod.containers) == ("Pending", 0, 1)
        assert counts([pod]) == (1, 0)
    finally:
        deleted = k3s.call("DELETE", f"{JOBS}/worker-gpu-2", token)
    assert deleted.status_code == 200


def test_the_agent_reads_what_a_pod_wrote(k3s: K3s, token: str) -> None:
    """Without a kubelet no pod runs: the real server has nothing to tell, the stand-in has words
    of its own. What can't be had, both refuse alike."""
    assert k3s.call("POST", JOBS, token, gateway_job("worker-gpu-3")).status_code == 201
    pods = Pods(Endpoint("127.0.0.1", k3s.port, True, k3s.authority()), token, Log())

    def names() -> list[str]:
        return [pod.name for pod in pods.ask() if pod.name.startswith("worker-gpu-3-")]

    try:
        eventually(lambda: len(names()) == 1, "the job has a pod")
        [name] = names()
        log = pods.log(name, 2).decode()
        assert log in ("", "line 19 of 20\nline 20 of 20\n")
        path = f"{PODS}/{name}/log"
        assert k3s.call("GET", path, token).status_code in (200, 204)
        odd = k3s.call("GET", f"{path}?container=nope", token)
        assert (odd.status_code, odd.json()["message"]) == (
            400,
            f"container nope is not valid for pod {name}",
        )
        gone = k3s.call("GET", f"{PODS}/none/log", token)
        assert (gone.status_code, gone.json()["message"]) == (404, 'pods "none" not found')
    finally:
        deleted = k3s.call("DELETE", f"{JOBS}/worker-gpu-3", token)
    assert deleted.status_code == 200


def test_the_fleet_job_of_the_documents_is_admitted(k3s: K3s, token: str) -> None:
    document = Path(__file__).parents[2] / "docs" / "examples" / "fleet-job.yaml"
    job = yaml.safe_load(document.read_text())
    answer = k3s.call("POST", f"{JOBS}?dryRun=All&fieldValidation=Strict", token, job)
    assert answer.status_code == 201, answer.text
    [container] = answer.json()["spec"]["template"]["spec"]["containers"]
    parts = int(container["args"][0].rpartition("/")[2].rstrip('"'))
    assert answer.json()["spec"]["completions"] == parts
    assert answer.json()["spec"]["completionMode"] == "Indexed"


@pytest.mark.parametrize(
    ("method", "path", "refusal"),
    [
        (
            "GET",
            "/api/v1/namespaces/default/secrets",
            'secrets is forbidden: User "system:serviceaccount:default:b9prov-gateway" cannot list '
            'resource "secrets" in API group "" in the namespace "default"',
        ),
        (
            "GET",
            "/api/v1/namespaces/default/secrets/b9prov-gateway-token",
            'secrets "b9prov-gateway-token" is forbidden: '
            'User "system:serviceaccount:default:b9prov-gateway" cannot get '
            'resource "secrets" in API group "" in the namespace "default"',
        ),
        (
            "GET",
            "/apis/batch/v1/namespaces/kube-system/jobs",
            'jobs.batch is forbidden: User "system:serviceaccount:default:b9prov-gateway" cannot '
            'list resource "jobs" in API group "batch" in the namespace "kube-system"',
        ),
        (
            "GET",
            "/api/v1/nodes",
            'nodes is forbidden: User "system:serviceaccount:default:b9prov-gateway" cannot list '
            'resource "nodes" in API group "" at the cluster scope',
        ),
        (
            "GET",
            "/api/v1/namespaces/kube-system/pods/some/log",
            'pods "some" is forbidden: User "system:serviceaccount:default:b9prov-gateway" cannot '
            'get resource "pods/log" in API group "" in the namespace "kube-system"',
        ),
        (
            "DELETE",
            f"{PODS}/some",
            'pods "some" is forbidden: User "system:serviceaccount:default:b9prov-gateway" cannot '
            'delete resource "pods" in API group "" in the namespace "default"',
        ),
    ],
)
def test_everything_else_is_refused(
    k3s: K3s, token: str, method: str, path: str, refusal: str
) -> None:
    answer = k3s.call(method, path, token)
    assert (answer.status_code, answer.json()["message"]) == (403, refusal)


VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
GRANTED = {
    *(("default", "batch", "jobs", verb) for verb in ("create", "get", "list", "delete")),
    ("default", "", "pods", "list"),
    ("default", "", "pods/log", "get"),
}
OF_EVERYBODY = {
    ("authentication.k8s.io", "selfsubjectreviews", "create"),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "create"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "create"),
}
"""What Kubernetes lets whoever it knows do: ask about himself."""


def resources(k3s: K3s, admin: str) -> Iterator[tuple[str, str]]:
    """Group and name of every resource that the API serves, subresources too."""
    paths = ["/api/v1"]
    for group in k3s.call("GET", "/apis", admin).json()["groups"]:
        paths += [f"/apis/{version['groupVersion']}" for version in group["versions"]]
    for path in paths:
        group = "" if path == "/api/v1" else path.split("/")[2]
        for resource in k3s.call("GET", path, admin).json()["resources"]:
            yield group, resource["name"]


@pytest.mark.parametrize("k3s", ["real"], indirect=True)
def test_the_token_may_do_each_verb_of_its_role_and_no_other(k3s: K3s, token: str) -> None:
    """Every verb on every resource that there is, in its own namespace, another and in none."""
    allowed = set()
    asked = 0
    for group, resource in sorted({*resources(k3s, k3s.admin()), ("", "no-such-thing")}):
        name, _, part = resource.partition("/")
        for namespace in ("default", "kube-system", ""):
            for verb in VERBS:
                about = {"namespace": namespace, "group": group, "resource": name, "verb": verb}
                review = {"spec": {"resourceAttributes": {**about, "subresource": part}}}
                answer = k3s.ask("POST", REVIEWS, token, review)
                asked += 1
                if answer.json()["status"]["allowed"]:
                    allowed.add((namespace, group, resource, verb))
    everybody = {
        (space, *each) for each in OF_EVERYBODY for space in ("default", "kube-system", "")
    }
    assert allowed == GRANTED | everybody
    assert asked > 1000


def test_the_access_is_applied_once_by_a_kubeconfig(k3s: K3s, token: str) -> None:
    """As in a Kubernetes that is adopted; what `up` takes for a change is one."""
    first, again = (k3s.apply(MANIFEST) for _ in range(2))
    assert again and all(line.endswith(" unchanged") for line in again.splitlines()), again
    assert len(first.splitlines()) == 4
    assert k3s.call("GET", JOBS, token).status_code == 200


def test_a_new_token_makes_the_old_one_void(k3s: K3s, token: str) -> None:
    """With the commands of the role's rotation."""
    manifest = MANIFEST.replace("b9prov-gateway", "rotated")
    k3s.apply(manifest)
    eventually(lambda: k3s.token("rotated-token") != "", "the Secret has a token")
    old = k3s.token("rotated-token")
    assert k3s.call("GET", JOBS, old).status_code == 200
    deleted = k3s.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=manifest)
    assert deleted.returncode == 0 and "deleted" in deleted.stdout, deleted.stderr
    eventually(lambda: "secret/rotated-token unchanged" in k3s.apply(manifest), "it is there")
    eventually(lambda: k3s.token("rotated-token") not in ("", old), "there is a new token")
    eventually(lambda: k3s.call("GET", JOBS, old).status_code == 401, "the old one is void")
    assert k3s.call("GET", JOBS, k3s.token("rotated-token")).status_code == 200


@pytest.mark.parametrize("bad", ["", "not-the-token"])
@pytest.mark.parametrize("path", [JOBS, "/readyz", "/version"])
def test_without_the_token_nothing_answers(k3s: K3s, bad: str, path: str) -> None:
    answer = k3s.call("GET", path, bad)
    assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


def test_the_token_reads_version_and_readiness(k3s: K3s, token: str) -> None:
    assert k3s.call("GET", "/version", token).json()["gitVersion"].startswith("v1.33.4")
    assert k3s.call("GET", "/readyz", token).text == "ok"


def test_kubectl_says_what_it_says(k3s: K3s, token: str) -> None:
    missing = k3s.kubectl("-n", "default", "get", "secret", "nope", "-o", "json")
    assert missing.returncode == 1
    assert missing.stderr.strip() == 'Error from server (NotFound): secrets "nope" not found'
    assert k3s.kubectl("get", "--raw", "/readyz").stdout == "ok"
    jobs = json.loads(k3s.kubectl("-n", "default", "get", "jobs", "-o", "json").stdout)
    assert (jobs["kind"], jobs["items"]) == ("List", [])


def test_a_manifest_that_comes_later_is_applied(k3s: K3s, token: str) -> None:
    k3s.deploy("later", TOKEN_SECRET.replace("NAME", "later"))
    eventually(lambda: k3s.token("later") != "", "the second Secret has a token")
    assert k3s.call("GET", JOBS, k3s.token("later")).status_code == 200


@pytest.mark.parametrize("kind", ["real", "standins"])
def test_a_restart_keeps_token_and_jobs_and_an_end_leaves_nobody(
    kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mirror: Mirror = request.getfixturevalue(kind)
    server = K3s(mirror.file("k3s"), tmp_path_factory.mktemp("again") / kind, 7443)
    with server.running() as process:
        eventually(lambda: server.token() != "", "the Secret has a token")
        token = server.token()
        assert server.call("POST", JOBS, token, gateway_job("kept")).status_code == 201
    assert process.returncode == 0
    assert not any(accepts("127.0.0.1", port) for port in (7443, 2379, 10257))
    with server.running():
        assert server.token() == token
        assert server.call("GET", f"{JOBS}/kept", token).status_code == 200


@pytest.mark.parametrize("kind", ["real", "standins"])
def test_a_killed_k3s_comes_back(
    kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mirror: Mirror = request.getfixturevalue(kind)
    server = K3s(mirror.file("k3s"), tmp_path_factory.mktemp("killed") / kind, 7444)
    with server.running() as process:
        eventually(lambda: server.token() != "", "the Secret has a token")
        token = server.token()
        process.kill()
        process.wait()
        eventually(lambda: not accepts("127.0.0.1", 7444), "its parts have ended too")
    with server.running():
        assert server.call("GET", JOBS, token).status_code == 200
