"""The manifest of examples/training: its schema, and that its parts fit together."""

import re
import shlex

import pytest

from keras_det.cli import main
from keras_det.training.workers import workers_of
from tests.helpers import ROOT

yaml = pytest.importorskip("yaml", reason="needs PyYAML")


def parsed():
    return list(yaml.safe_load_all((ROOT / "examples/training/kubernetes.yaml").read_text()))


def test_the_manifest_follows_its_schema():
    kubernetes = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    version = kubernetes.latest_version()
    for document in parsed():
        kubernetes.validate(document, version, strict=True)
    document["spec"]["workers"] = 2
    with pytest.raises(kubernetes.ValidationError, match="workers"):
        kubernetes.validate(document, version, strict=True)


def test_the_manifest_fits_together():
    service, job = parsed()
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    spec, template = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    name, domain = job["metadata"]["name"], service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name} and template["subdomain"] == domain
    (container,) = template["containers"]
    (port,) = (each["containerPort"] for each in container["ports"])
    assert [each["port"] for each in service["spec"]["ports"]] == [port]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in template["volumes"]}
    command = re.search(r"keras-det (.*)", container["args"][0].replace("\\\n", ""))[1]
    words = shlex.split(command)
    words[words.index("$resume")] = "--resume"
    words[words.index("$JOB_COMPLETION_INDEX")] = "1"
    context = main.commands["train"].make_context("train", words[1:])
    given = context.params
    workers = workers_of(given["workers"], given["worker"], given["worker_minutes"])
    pods = range(spec["completions"])
    assert workers.addresses == [f"{name}-{i}.{domain}:{port}" for i in pods]
    assert given["batch_size"] % spec["completions"] == 0
    for path in (given["data"], given["out"]):
        assert any(path.startswith(f"{mount}/") for mount in mounts.values())
    assert f"{given['out']}/recipe.json" in container["args"][0]
