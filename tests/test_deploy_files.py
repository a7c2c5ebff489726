"""The other files of deploy/, each checked by its own tool, or held against the code where there is none."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from tests.support.documents import PROJECT
from tests.support.service import PATIENCE, Service

DEPLOY = PROJECT / "deploy"
ANALYZE = shutil.which("systemd-analyze")
PROMTOOL = shutil.which("promtool")


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """One tool, to its end."""
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_to_remark_in_unit_and_socket(tmp_path: Path) -> None:
    """Every setting in it is known, once its program and its user are there."""
    text = (DEPLOY / "jackfield.service").read_text(encoding="utf-8")
    text = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text)
    unit = tmp_path / "jackfield.service"
    unit.write_text(re.sub(r"(User|Group)=\w+", r"\1=root", text), encoding="utf-8")
    activation = tmp_path / "jackfield.socket"
    activation.write_bytes((DEPLOY / "jackfield.socket").read_bytes())
    answer = run(str(ANALYZE), "verify", unit, activation)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_the_unit_is_shut_in() -> None:
    """`systemd-analyze security` finds an exposure of at most 2.5."""
    answer = run(str(ANALYZE), "security", "--offline=true", DEPLOY / "jackfield.service")
    found = re.search(r"exposure level .*: ([0-9.]+)", answer.stdout)
    assert found, answer.stdout + answer.stderr
    assert float(found[1]) <= 2.5


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules_and_they_fire() -> None:
    """By Prometheus' own checker, and its own tests of rules."""
    for words in (("check", "rules", "prometheus-rules.yaml"), ("test", "rules", "prometheus-rules.test.yaml")):
        answer = run(str(PROMTOOL), *words[:2], DEPLOY / words[2])
        assert answer.returncode == 0, answer.stdout + answer.stderr


def test_rules_and_dashboard_know_only_metrics_that_exist(service: Service) -> None:
    """Each name that begins with `jackfield_` is one that the running service has."""
    with urlopen(f"{service.url}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    for file in ("prometheus-rules.yaml", "grafana.json"):
        named = set(re.findall(r"jackfield_[a-z_]+", (DEPLOY / file).read_text(encoding="utf-8")))
        assert named
        assert {re.sub("_(total|bucket|sum|count|created)$", "", name) for name in named} - {
            re.sub("_total$", "", name) for name in there
        } == set(), file


def documents(name: str) -> list[dict[str, Any]]:
    """What a file of YAML has, one dictionary a document."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def test_kubernetes_replaces_the_pod_and_asks_the_probes() -> None:
    """`Recreate`, since the directory is locked; no service links; the grace is longer than our own time to stop."""
    (deployment,) = [each for each in documents("kubernetes.yaml") if each["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert spec["enableServiceLinks"] is False
    assert spec["terminationGracePeriodSeconds"] > 10
    (container,) = spec["containers"]
    probes = {kind: container[kind]["httpGet"]["path"] for kind in ("readinessProbe", "livenessProbe")}
    assert probes == {"readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def test_the_container_is_not_root_and_its_files_are_there() -> None:
    """What the Dockerfile copies exists; it gives up root; compose mounts what it writes to."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if re.match(r"COPY [^-]", line) for word in line.split()[1:-1]]
    assert copied
    assert not [name for name in copied if not (PROJECT / name).exists()]
    assert "USER 10001" in lines
    (service,) = documents("compose.yaml")[0]["services"].values()
    assert service["read_only"] is True
    assert service["volumes"] == ["uploads:/data"]


def test_the_dashboard_is_json_with_a_query_in_each_panel() -> None:
    """Grafana imports it as it is."""
    dashboard = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
    assert dashboard["panels"]
    assert all(panel["targets"][0]["expr"] for panel in dashboard["panels"])
