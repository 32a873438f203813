"""deploy/helm/octollm, rendered by Helm, and checked by the schemas of Kubernetes and KEDA; no cluster runs here."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.devserver.service import read_procfile
from orchestrator.models.arm_capability import ARMS
from orchestrator.process.process_kind import SECRETS, WITH_MODELS, may_receive
from tests.deploy.conftest import ROOT, RunTool
from tests.deploy.test_compose import REACH_OTHERS

CHART = ROOT / "deploy" / "helm" / "octollm"
KUBERNETES = ("1.30", "1.37")
KEDA = json.loads((Path(__file__).parent / "keda.schema.json").read_text())
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
FULL: dict[str, Any] = {
    "image": {"repository": "registry.example.com/octollm", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "modelsSecret": "octollm-models",
    "settings": {"GRACE_SECONDS": "120", "MAX_FILE_BYTES": "16777216", "ARM_ALLOWED_HOSTS": "a.example.com"},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "tlsSecret": "octollm-tls",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "17m"},
    },
    "arms": {
        "remote": {"enabled": True},
        "webhook": {"enabled": True},
        "guardian": {"replicas": 3, "minReplicas": 2},
        "weather": {"own": True},
    },
    "keda": {"enabled": True},
    "sandbox": {"strong": True},
    "networkPolicy": {
        "servers": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        "callers": [PEER],
        "scrapers": [PEER],
        "alsoTo": [{"ports": [{"protocol": "TCP", "port": 4318}]}],
    },
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
}

Manifest = dict[str, Any]
Render = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def render(run_tool: RunTool) -> Render:
    """Return a function that renders a chart with values: what render_chart.py prints."""

    def run(values: dict[str, Any], *, chart: Path = CHART, version: str = KUBERNETES[-1]) -> dict[str, Any]:
        program = Path(__file__).with_name("render_chart.py")
        done = run_tool("python", program, chart, version, text=json.dumps(values))
        assert done.returncode == 0, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    return run


@pytest.fixture(scope="session")
def default(render: Render) -> list[Manifest]:
    """The manifests with the default values."""
    return list(render({})["documents"])


@pytest.fixture(scope="session")
def full(render: Render) -> list[Manifest]:
    """The manifests with all that can be switched on."""
    return list(render(FULL)["documents"])


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    """Return the manifests of some kinds by their names without the release's."""
    return {
        one["metadata"]["name"].removeprefix("demo-octollm-"): one
        for one in manifests
        if one["kind"] in kinds
    }


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the specifications of all pods by the names of their kinds."""
    return {
        name: one["spec"]["template"]["spec"] for name, one in of_kind(manifests, "Deployment", "Job").items()
    }


def faults_of_keda(manifests: list[Manifest]) -> list[str]:
    """Return what KEDA's schema refuses."""
    checker = jsonschema.Draft202012Validator(KEDA)
    ours = [one for one in manifests if one["apiVersion"].startswith("keda.sh/")]
    return [str(error.message) for one in ours for error in checker.iter_errors(one)]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [{}, FULL], ids=["default", "full"])
def test_helm_kubernetes_and_keda_accept_the_chart(
    render: Render, values: dict[str, Any], version: str
) -> None:
    found = render(values, version=version)

    assert (found["lint"], found["error"], found["faults"]) == ([], "", [])
    assert faults_of_keda(found["documents"]) == []
    assert len(found["documents"]) > 20


@pytest.mark.parametrize(
    ("file", "fault", "where"),
    [
        ("sweeper.yaml", ("  replicas:", "  replica:"), "faults"),
        ("_helpers.tpl", ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"), "faults"),
        ("networkpolicy.yaml", ("policyTypes: [Egress]", "policyTypes: Egress"), "faults"),
        ("arms.yaml", ("  minReplicaCount:", "  minReplicasCount:"), "keda"),
        ("arms.yaml", ('"0"\n', "0\n"), "keda"),
        ("api.yaml", ('{{ include "octollm.name" . }}', '{{ include "octollm.names" . }}'), "error"),
    ],
)
def test_a_planted_fault_is_found(
    render: Render, tmp_path: Path, file: str, fault: tuple[str, str], where: str
) -> None:
    chart = shutil.copytree(CHART, tmp_path / "octollm")
    template = chart / "templates" / file
    assert fault[0] in template.read_text()
    template.write_text(template.read_text().replace(*fault))

    found = render(FULL, chart=chart)

    assert {**found, "keda": faults_of_keda(found["documents"])}[where]


@pytest.mark.parametrize(
    "values",
    [
        {"keda": {"enable": True}},
        {"arms": {"coder": {"poll": "threads"}}},
        {"settings": {"JWT_PRIVATE_KEY": "x"}},
        {"settings": {"MAX_FILE_BYTES": 16777216}},
        {"image": {"digest": "sha256:1"}},
        {"existingSecret": ""},
    ],
)
def test_values_that_fit_nothing_are_refused(render: Render, values: dict[str, Any]) -> None:
    assert "\n- at '" in render(values)["error"]


def test_each_pod_runs_its_line_of_the_procfile(full: list[Manifest], default: list[Manifest]) -> None:
    lines = {re.sub(r"^\[.*?/dev/null; ", "", line): name for name, line in read_procfile().items()}

    ran = {}
    for name, pod in pods(full).items():
        shell, option, line = pod["containers"][0]["args"]
        assert (shell, option) == ("/bin/sh", "-c")
        # Kubernetes replaces $$ by $, and $(NAME) by a variable's value
        assert "$(" not in line
        ran[name] = lines.get(line.replace("$$", "$"), line.replace("$$", "$"))

    names = {"api": "web", "migrate": "release"}
    own = ran.pop("weather")
    assert ran == {name: names.get(name, name) for name in ran}
    assert set(ran.values()) == set(lines.values()) - {"arms", "flower"}
    assert own == read_procfile()["arms"].partition("; ")[2].replace('"$ARMS"', "weather").replace(
        "arms.", "weather."
    )
    assert {arm.process for arm in ARMS.values() if arm.has_workers} <= pods(default).keys()


def test_each_pod_is_confined(default: list[Manifest], full: list[Manifest]) -> None:
    for manifests, grace in ((default, 40), (full, 130)):
        for name, pod in pods(manifests).items():
            (container,) = pod["containers"]
            strong = manifests is full and name in {"coder", "executor"}

            assert pod["automountServiceAccountToken"] is False, name
            assert pod["securityContext"] == {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "Unconfined" if strong else "RuntimeDefault"},
                **({"appArmorProfile": {"type": "Unconfined"}} if strong else {}),
            }, name
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                **({"procMount": "Unmasked"} if strong else {}),
            }, name
            assert pod.get("hostUsers", True) is not strong, name
            assert container["resources"].keys() == {"requests", "limits"}, name
            assert pod["terminationGracePeriodSeconds"] == grace, name
            assert ("livenessProbe" in container) == (name != "migrate"), name
    (account,) = of_kind(default, "ServiceAccount").values()
    assert account["automountServiceAccountToken"] is False


def test_each_kind_mounts_its_own_secrets_only(full: list[Manifest], made: Path) -> None:
    for name, pod in pods(full).items():
        (container,) = pod["containers"]
        environ = {one["name"]: one["value"] for one in container["env"]}
        (secrets,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
        files = {item["key"] for item in secrets["items"]}
        kind = environ.get("OCTOLLM_KIND")
        named = {variable.removesuffix("_FILE") for variable in environ if variable.endswith("_FILE")}

        assert files <= {path.name for path in made.iterdir()}, name
        assert {f"/run/secrets/octollm/{file}" for file in files} == {
            text for variable, text in environ.items() if variable.endswith("_FILE")
        }, name
        if kind is None:
            assert files == {"database-url-owner"}
            continue
        others = {"JWT_SECRET", "PIP_INDEX_URL", "FLOWER_BASIC_AUTH"}
        wanted = {secret for secret in SECRETS.keys() - others if may_receive(kind, secret, arms=["judge"])}
        assert named == {"DATABASE_URL", "REDIS_URL", "PERMIT_PUBLIC_KEY", *wanted} - (
            {"PERMIT_PUBLIC_KEY"} if kind == "sweeper" else set()
        ), name
        assert ("envFrom" in container) == (kind in WITH_MODELS), name


def test_only_what_calls_others_may_reach_them_and_only_the_api_is_reached(
    full: list[Manifest], default: list[Manifest]
) -> None:
    labels = {
        name: one["spec"]["template"]["metadata"]["labels"]
        for name, one in of_kind(full, "Deployment", "Job").items()
    }
    open_ports = {name: one["spec"].get("ingress") for name, one in of_kind(default, "NetworkPolicy").items()}

    reaching = {name for name, given in labels.items() if given["octollm/reaches-others"] == "true"}
    assert reaching == (REACH_OTHERS - {"web", "flower"}) | {"api"}
    assert open_ports == {
        "inner": None,
        "others": None,
        "api": [{"ports": [{"protocol": "TCP", "port": "http"}]}],
    }


def test_keda_asks_for_the_work_of_each_queue(full: list[Manifest]) -> None:
    scaled = of_kind(full, "ScaledObject")
    deployments = of_kind(full, "Deployment")

    queues = {
        name: re.findall(
            r"octollm_queued_seconds_1\('(.*)'\)", one["spec"]["triggers"][0]["metadata"]["query"]
        )
        for name, one in scaled.items()
    }
    wanted = {arm.process: [arm.queue] for arm in ARMS.values() if arm.has_workers}
    assert queues == {**wanted, "remote": ["arm.remote"], "weather": ["arm.weather"]}
    assert all("replicas" not in deployments[name]["spec"] for name in scaled)
    assert scaled["guardian"]["spec"]["minReplicaCount"] == 2
    # 30 seconds of work for each of its 8 slots
    assert scaled["judge"]["spec"]["triggers"][0]["metadata"]["targetQueryValue"] == "240"
