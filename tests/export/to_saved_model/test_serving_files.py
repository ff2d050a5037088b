"""What examples/serving/ gives to the real server: checked against schemas, never started."""

import re

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from tests.helpers import ROOT

FOLDER = ROOT / "examples" / "serving"
# Numbers and kinds of `BatchingParameters` in TensorFlow Serving's session_bundle_config.proto,
# which tensorflow-serving-api does not hold.
FIELDS = {
    "max_batch_size": (1, "Int64Value"),
    "batch_timeout_micros": (2, "Int64Value"),
    "max_enqueued_batches": (3, "Int64Value"),
    "num_batch_threads": (4, "Int64Value"),
    "thread_pool_name": (5, "StringValue"),
    "allowed_batch_sizes": (6, "repeated"),
    "pad_variable_length_inputs": (7, "bool"),
}


def batching_parameters():
    """An empty message of the server's type."""
    proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="tests")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    for name, (number, kind) in FIELDS.items():
        repeated = proto.LABEL_REPEATED if kind == "repeated" else proto.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, label=repeated)
        field.type = {"repeated": proto.TYPE_INT64, "bool": proto.TYPE_BOOL}.get(
            kind, proto.TYPE_MESSAGE
        )
        if kind.endswith("Value"):
            field.type_name = f".google.protobuf.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.BatchingParameters"))()


def parsed(name):
    """Every YAML document of a file."""
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def test_batching_parameters():
    text = (FOLDER / "batching_parameters.txt").read_text()
    found = text_format.Parse(text, batching_parameters())
    sizes = list(found.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)), "the server wants them in increasing order"
    assert sizes[0] == 1 and sizes[-1] == found.max_batch_size.value == 8
    assert found.num_batch_threads.value >= 1 and found.max_enqueued_batches.value >= 1
    assert not found.pad_variable_length_inputs, "padded images would be other images"
    documented = (ROOT / "docs" / "serving.md").read_text()
    assert f"warmup={found.max_batch_size.value}" in documented
    with pytest.raises(text_format.ParseError, match="max_batch"):
        text_format.Parse("max_batch { value: 8 }", batching_parameters())


def test_compose_file():
    (compose,) = parsed("docker-compose.yaml")
    assert set(compose) == {"services"} and set(compose["services"]) == {"detector"}
    service = compose["services"]["detector"]
    assert set(service) == {"image", "environment", "command", "ports", "volumes", "restart"}
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", service["image"])
    assert service["ports"] == ["8500:8500", "8501:8501"]
    # The image's entry point serves MODEL_BASE_PATH/MODEL_NAME.
    places = dict(volume.split(":")[:2][::-1] for volume in service["volumes"])
    environment = service["environment"]
    served = f"{environment['MODEL_BASE_PATH']}/{environment['MODEL_NAME']}"
    assert places[served] == "./served"
    assert service["command"] == batching_arguments(places)
    assert (FOLDER / places["/config/batching_parameters.txt"]).is_file()


def batching_arguments(places):
    """What the server is called with; the file must be where it looks."""
    path = "/config/batching_parameters.txt"
    assert path in places
    return ["--enable_batching=true", f"--batching_parameters_file={path}"]


def test_kubernetes_manifest_follows_its_schema():
    kubernetes = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    version = kubernetes.latest_version()
    for document in parsed("kubernetes.yaml"):
        kubernetes.validate(document, version, strict=True)
    document["spec"]["port"] = 1
    with pytest.raises(kubernetes.ValidationError, match="port"):
        kubernetes.validate(document, version, strict=True)


def test_kubernetes_manifest_fits_together():
    deployment, service = parsed("kubernetes.yaml")
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    (container,) = template["spec"]["containers"]
    names = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert names == {"grpc": 8500, "rest": 8501}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == set(names)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in template["spec"]["volumes"]}
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    served = f"{environment['MODEL_BASE_PATH']}/{environment['MODEL_NAME']}"
    assert mounts["models"] == served
    assert container["args"] == batching_arguments(
        {f"{mounts['batching']}/batching_parameters.txt"}
    )
    for probe in ("readinessProbe", "startupProbe"):
        path = container[probe]["httpGet"]["path"]
        assert path == f"/v1/models/{environment['MODEL_NAME']}/metadata"
    compose = parsed("docker-compose.yaml")[0]["services"]["detector"]["image"]
    assert container["image"] == compose
