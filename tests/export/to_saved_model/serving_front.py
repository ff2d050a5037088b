"""A stand-in for TensorFlow Serving: its REST and gRPC protocols over a loaded SavedModel.

    python serving_front.py SAVED_MODEL NAME

A program of its own, in which keras_det and Keras cannot be imported. It prints its ports as JSON
and serves until its standard input ends. gRPC needs tensorflow-serving-api; without it "grpc" is
null. What clients of the real server may rely on is written down in TensorFlow Serving's
documentation of its REST API and in its .proto files; nothing else is answered here.
"""

import base64
import concurrent.futures
import http.server
import importlib.util
import json
import pathlib
import re
import sys
import threading

for blocked in ("keras_det", "keras"):
    sys.modules[blocked] = None  # importing it raises ImportError

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402

ROUTE = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata|:predict)?")


class RequestError(Exception):
    """What a client did wrong.

    Args:
        code: the name of a gRPC status.
        message: a sentence.
    """

    HTTP = {"NOT_FOUND": 404, "INVALID_ARGUMENT": 400}

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Servable:
    """One version of a model; the folder's name is the version."""

    def __init__(self, folder, name):
        folder = pathlib.Path(folder)
        self.name, self.version = name, int(folder.name)
        self.loaded = tf.saved_model.load(str(folder))
        content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        # The loader's own "__saved_model_init_op" is no signature for clients.
        self.definitions = {
            key: value
            for key, value in content.meta_graphs[0].signature_def.items()
            if not key.startswith("__")
        }

    def check(self, name, version):
        """RequestError unless this is the model that a client asks for."""
        if name != self.name or version not in (None, self.version):
            raise RequestError("NOT_FOUND", f"Servable not found for request: {name} {version}")

    def dtypes(self, signature) -> dict:
        """TensorFlow's types of the inputs by name."""
        if signature not in self.definitions:
            raise RequestError("INVALID_ARGUMENT", f'Serving signature "{signature}" not found.')
        inputs = self.definitions[signature].inputs
        return {name: tf.dtypes.as_dtype(info.dtype) for name, info in inputs.items()}

    def predict(self, signature, inputs: dict) -> dict:
        """Arrays by output name."""
        dtypes = self.dtypes(signature)
        if set(inputs) != set(dtypes):
            raise RequestError(
                "INVALID_ARGUMENT", f"inputs must be {sorted(dtypes)}, are {sorted(inputs)}"
            )
        try:
            tensors = {name: tf.constant(value, dtypes[name]) for name, value in inputs.items()}
            outputs = self.loaded.signatures[signature](**tensors)
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise RequestError("INVALID_ARGUMENT", str(error)) from error
        return {name: value.numpy() for name, value in outputs.items()}


def status(servable) -> dict:
    """As `GET /v1/models/NAME` answers."""
    good = {"error_code": "OK", "error_message": ""}
    version = {"version": str(servable.version), "state": "AVAILABLE", "status": good}
    return {"model_version_status": [version]}


def metadata(servable) -> dict:
    """As `GET /v1/models/NAME/metadata` answers."""
    definitions = {
        name: json_format.MessageToDict(
            value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, value in servable.definitions.items()
    }
    spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": definitions}}}


def from_json(value):
    """Lists and numbers as they are, `{"b64": …}` as bytes."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    return value


def is_tensor(value) -> bool:
    """Whether a JSON value is a tensor's, and no dict of named ones."""
    return not isinstance(value, dict) or set(value) == {"b64"}


def predict_json(servable, request: dict) -> dict:
    """Answers the body of `:predict`, in the row format or the columnar one."""
    signature = request.get("signature_name", "serving_default")
    names = list(servable.dtypes(signature))
    if ("instances" in request) == ("inputs" in request):
        raise RequestError("INVALID_ARGUMENT", "give either 'instances' or 'inputs'")
    rows, inputs = request.get("instances"), request.get("inputs")
    if rows is not None:
        if all(is_tensor(row) for row in rows):
            rows = [{names[0]: row} for row in rows]
        inputs = {name: [row[name] for row in rows] for name in rows[0]}
    elif is_tensor(inputs):
        inputs = {names[0]: inputs}
    inputs = {name: from_json(value) for name, value in inputs.items()}
    outputs = servable.predict(signature, inputs)
    if "inputs" in request:
        return {"outputs": {name: value.tolist() for name, value in outputs.items()}}
    count = len(next(iter(outputs.values())))
    return {
        "predictions": [
            {name: value[row].tolist() for name, value in outputs.items()} for row in range(count)
        ]
    }


class Handler(http.server.BaseHTTPRequestHandler):
    """The REST API; `servable` is set on a subclass."""

    def do_GET(self):
        self._answer({None: status, "/metadata": metadata})

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        self._answer({":predict": lambda servable: predict_json(servable, json.loads(body))})

    def _answer(self, actions):
        try:
            found = ROUTE.fullmatch(self.path)
            if not found or found[3] not in actions:
                raise RequestError("NOT_FOUND", f"Malformed request: {self.command} {self.path}")
            self.servable.check(found[1], found[2] and int(found[2]))
            code, content = 200, actions[found[3]](self.servable)
        except RequestError as error:
            code, content = RequestError.HTTP[error.code], {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            code, content = 400, {"error": f"JSON Parse error: {error}"}
        answer = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        """No line per request."""


def start_rest(servable) -> int:
    """Serves REST in the background; returns the port."""
    handler = type("ServingHandler", (Handler,), {"servable": servable})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def start_grpc(servable):
    """Serves PredictionService in the background; returns the port and the server."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            spec = request.model_spec
            try:
                version = spec.version.value if spec.HasField("version") else None
                servable.check(spec.name, version)
                signature = spec.signature_name or "serving_default"
                inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
                outputs = servable.predict(signature, inputs)
            except RequestError as error:
                context.abort(grpc.StatusCode[error.code], str(error))
            response = predict_pb2.PredictResponse()
            response.model_spec.name, response.model_spec.signature_name = spec.name, signature
            response.model_spec.version.value = servable.version
            for name in request.output_filter or outputs:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(outputs[name])))
            return response

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return port, server


def main(folder, name):
    for module in ("keras_det", "keras"):
        try:
            __import__(module)
        except ImportError:
            continue
        raise SystemExit(f"{module} can be imported")
    servable = Servable(folder, name)
    port, server = None, None
    if importlib.util.find_spec("tensorflow_serving"):
        port, server = start_grpc(servable)
    print(json.dumps({"rest": start_rest(servable), "grpc": port}), flush=True)
    sys.stdin.read()
    if server:
        server.stop(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
