"""Model repositories for Triton: the configuration is what Triton's schema says, and describes the file beside it."""

import numpy as np
import pytest
import torch
from test_zoo_export import super_resolution

from tools.zoo.export_worker import export_network
from tools.zoo.triton import MAX_BATCH_SIZE, Port, check_format, model_config, write_model

text_format = pytest.importorskip("google.protobuf.text_format")  # comes with onnx
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402

FIELD = descriptor_pb2.FieldDescriptorProto
# names, numbers and types as in protobuf/model_config.proto of github.com/triton-inference-server/common; a text that
# uses any other field does not parse
DATA_TYPES = {"TYPE_INVALID": 0, "TYPE_FP16": 10, "TYPE_FP32": 11}
MESSAGES = {
    "ModelInput": [("name", 1, "string"), ("data_type", 2, "DataType"), ("dims", 4, "int64s")],
    "ModelOutput": [("name", 1, "string"), ("data_type", 2, "DataType"), ("dims", 3, "int64s")],
    "ModelDynamicBatching": [("preferred_batch_size", 1, "int32s")],
    "ModelConfig": [
        *(("name", 1, "string"), ("platform", 2, "string"), ("max_batch_size", 4, "int32")),
        *(("input", 5, "ModelInputs"), ("output", 6, "ModelOutputs"), ("dynamic_batching", 11, "ModelDynamicBatching")),
    ],
}
SCALARS = {"string": FIELD.TYPE_STRING, "int64": FIELD.TYPE_INT64, "int32": FIELD.TYPE_INT32}


def parse(text):
    """Read a configuration as Triton does."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    data_type = file.enum_type.add(name="DataType")
    for name, number in DATA_TYPES.items():
        data_type.value.add(name=name, number=number)
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            one = kind.removesuffix("s")
            field = described.field.add(name=name, number=number)
            field.label = FIELD.LABEL_REPEATED if kind.endswith("s") else FIELD.LABEL_OPTIONAL
            if one in SCALARS:
                field.type = SCALARS[one]
            else:
                field.type = FIELD.TYPE_ENUM if one == "DataType" else FIELD.TYPE_MESSAGE
                field.type_name = f".inference.{one}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return text_format.Parse(
        text, message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
    )


def described(tensor):
    return tensor.name, list(tensor.dims), tensor.data_type


def test_free_batch_is_served_in_batches():
    config = parse(
        model_config("net", "ts", Port("image", [-1, 3, -1, -1]), Port("pred", [-1, 2, -1, -1]), 'a "comment" #')
    )
    assert (config.name, config.platform, config.max_batch_size) == ("net", "pytorch_libtorch", MAX_BATCH_SIZE)
    assert config.HasField("dynamic_batching")
    ((image,), (pred,)) = config.input, config.output
    assert described(image) == ("image__0", [3, -1, -1], DATA_TYPES["TYPE_FP32"])
    assert described(pred) == ("pred__0", [2, -1, -1], DATA_TYPES["TYPE_FP32"])


def test_file_of_one_size_is_served_as_it_is():
    config = parse(model_config("net", "onnx", Port("image", [1, 1, 32, 24]), Port("pred", [1, 1, 64, 48]), ""))
    assert (config.platform, config.max_batch_size) == ("onnxruntime_onnx", 0)
    assert not config.HasField("dynamic_batching")
    ((image,), (pred,)) = config.input, config.output
    assert (described(image)[:2], described(pred)[:2]) == (("image", [1, 1, 32, 24]), ("pred", [1, 1, 64, 48]))


def test_what_triton_would_refuse_is_refused():
    for text in ('nam: "x"', "max_batch_size: eight", "input [ { dims: [ * ] } ]", "input { data_type: 3.5 }"):
        with pytest.raises(text_format.ParseError):
            parse(text)
    with pytest.raises(ValueError, match="Triton runs ts and onnx, got pt2"):
        check_format("pt2")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_model_replaces_an_older_one_whole(tmp_path):
    repository, file = tmp_path / "new" / "models", tmp_path / "model.ts"
    file.write_text("one")
    assert write_model(repository, "net", "ts", file, "a") == repository / "net"
    assert contents(repository) == {"net/config.pbtxt": "a", "net/1/model.pt": "one"}
    file.write_text("two")
    write_model(repository, "net", "onnx", file, "b")
    file.unlink()
    with pytest.raises(FileNotFoundError):
        write_model(repository, "net", "ts", file, "c")
    assert contents(repository) == {"net/config.pbtxt": "b", "net/1/model.onnx": "two"}
    assert [path.name for path in repository.iterdir()] == ["net"]
    (repository / "net" / "config.pbtxt").rename(repository / "net" / "thesis.txt")
    with pytest.raises(ValueError, match="expected no such folder, or a Triton model"):
        write_model(repository, "net", "ts", file, "c")
    assert contents(repository) == {"net/thesis.txt": "b", "net/1/model.onnx": "two"}


def served(folder, file_format, dynamic):
    """Export into a repository; the configuration and the file of its model, and the network."""
    bundle, network = super_resolution(folder, ["*", "2*n"])
    made = folder / f"made.{file_format}"
    weights = bundle / "models" / "model.pt"
    report = export_network(bundle, made, weights, file_format, dynamic=dynamic, size=[16, 24])
    text = model_config(bundle.name, file_format, report.image, report.pred, "")
    model = write_model(folder / "models", bundle.name, file_format, made, text)
    config = parse((model / "config.pbtxt").read_text())
    (file,) = (model / "1").iterdir()
    assert file.name == {"pytorch_libtorch": "model.pt", "onnxruntime_onnx": "model.onnx"}[config.platform]
    return config, file, network


def admits(dims, shape, batched):
    """Whether Triton takes a tensor of that shape, see model_configuration.md, `Inputs and Outputs`."""
    full = [-1, *dims] if batched else list(dims)
    return len(full) == len(shape) and all(want in (-1, got) for want, got in zip(full, shape, strict=True))


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter uses what it deprecates
@pytest.mark.slow  # two exports
@pytest.mark.parametrize("dynamic", [False, True])
def test_onnx_model_does_what_its_configuration_says(dynamic, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime

    config, file, network = served(tmp_path, "onnx", dynamic)
    ((image,), (pred,)) = config.input, config.output
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    # Triton compares the configuration with what the file declares; a batched model's first axis must be free
    for port, declared in ((image, session.get_inputs()), (pred, session.get_outputs())):
        assert [(port.name, "tensor(float)")] == [(entry.name, entry.type) for entry in declared]
        shape = [-1 if isinstance(n, str) else n for n in declared[0].shape]
        assert shape == ([-1, *port.dims] if config.max_batch_size else list(port.dims))
    for shape in [(1, 1, 16, 24), (MAX_BATCH_SIZE, 1, 9, 14)]:
        values = torch.rand(shape)
        assert admits(image.dims, shape, config.max_batch_size > 0) == (dynamic or shape == (1, 1, 16, 24))
        if dynamic or shape == (1, 1, 16, 24):
            (result,) = session.run([pred.name], {image.name: values.numpy()})
            assert admits(pred.dims, result.shape, config.max_batch_size > 0)
            np.testing.assert_allclose(result, network(values).detach().numpy(), rtol=0, atol=1e-4)


def test_torchscript_model_does_what_its_configuration_says(tmp_path):
    config, file, network = served(tmp_path, "ts", dynamic=True)
    ((image,), (pred,)) = config.input, config.output
    loaded = torch.jit.load(file)
    # `<name>__<position>`, of as many as there are
    assert [tensor.name.partition("__")[2] for tensor in (image, pred)] == ["0", "0"]
    assert len(loaded.forward.schema.arguments[1:]) == len(loaded.forward.schema.returns) == 1
    values = torch.rand(2, 1, 11, 6)
    result = loaded(values)
    assert admits(image.dims, values.shape, batched=True)
    assert admits(pred.dims, result.shape, batched=True)
    torch.testing.assert_close(result, network(values), rtol=0, atol=1e-6)
