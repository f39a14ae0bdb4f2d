"""Model repositories for Triton: the configuration is what Triton's schema says, and describes the file beside it."""

import json

import numpy as np
import pytest
import torch
from monai.networks.blocks import SubpixelUpsample

from tools.zoo.export_worker import export_network
from tools.zoo.triton import MAX_BATCH_SIZE, Door, model_config, server_for, write_model

text_format = pytest.importorskip("google.protobuf.text_format")  # comes with onnx
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402

FIELD = descriptor_pb2.FieldDescriptorProto
# names, numbers and types as in protobuf/model_config.proto of github.com/triton-inference-server/common; a text that
# uses any other field does not parse
DATA_TYPES = {"TYPE_INVALID": 0, "TYPE_FP16": 10, "TYPE_FP32": 11}
MESSAGES = {
    "ModelInput": [("name", 1, "string"), ("data_type", 2, "DataType"), ("dims", 4, "int64s")],
    "ModelOutput": [("name", 1, "string"), ("data_type", 2, "DataType"), ("dims", 3, "int64s")],
    "ModelDynamicBatching": [("preferred_batch_size", 1, "int32s"), ("max_queue_delay_microseconds", 2, "uint64")],
    "ModelConfig": [
        ("name", 1, "string"),
        ("platform", 2, "string"),
        ("max_batch_size", 4, "int32"),
        ("input", 5, "ModelInputs"),
        ("output", 6, "ModelOutputs"),
        ("dynamic_batching", 11, "ModelDynamicBatching"),
    ],
}
SCALARS = {
    "string": FIELD.TYPE_STRING,
    "int64": FIELD.TYPE_INT64,
    "int32": FIELD.TYPE_INT32,
    "uint64": FIELD.TYPE_UINT64,
}


def model_config_class():
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
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


def parse(text):
    return text_format.Parse(text, model_config_class()())


# -- configuration -------------------------------------------------------------------------------------------------


def test_free_batch_is_served_in_batches():
    config = parse(
        model_config("net", "ts", Door("image", [-1, 3, -1, -1]), Door("pred", [-1, 2, -1, -1]), 'a "comment" #')
    )
    assert (config.name, config.platform, config.max_batch_size) == ("net", "pytorch_libtorch", MAX_BATCH_SIZE)
    assert config.HasField("dynamic_batching")
    ((image,), (pred,)) = config.input, config.output
    assert (image.name, list(image.dims), image.data_type) == ("image__0", [3, -1, -1], DATA_TYPES["TYPE_FP32"])
    assert (pred.name, list(pred.dims), pred.data_type) == ("pred__0", [2, -1, -1], DATA_TYPES["TYPE_FP32"])


def test_file_of_one_size_is_served_as_it_is():
    config = parse(model_config("net", "onnx", Door("image", [1, 1, 32, 24]), Door("pred", [1, 1, 64, 48])))
    assert (config.platform, config.max_batch_size) == ("onnxruntime_onnx", 0)
    assert not config.HasField("dynamic_batching")
    ((image,), (pred,)) = config.input, config.output
    assert (image.name, list(image.dims)) == ("image", [1, 1, 32, 24])
    assert (pred.name, list(pred.dims)) == ("pred", [1, 1, 64, 48])


def test_check_of_this_test_refuses_what_triton_would():
    for text in (
        'nam: "x"',
        "max_batch_size: eight",
        "input [ { dims: [ * ] } ]",
        'platform: "x',
        "input { data_type: 3.5 }",
    ):
        with pytest.raises(text_format.ParseError):
            parse(text)


def test_program_is_refused():
    with pytest.raises(ValueError, match="Triton runs ts and onnx, got pt2"):
        server_for("pt2")


# -- repository ----------------------------------------------------------------------------------------------------


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_model_replaces_an_older_one_whole(tmp_path):
    repository, file = tmp_path / "new" / "models", tmp_path / "model.ts"
    file.write_text("one")
    assert write_model(repository, "net", "ts", file, "a") == repository / "net"
    assert contents(repository) == {"net/config.pbtxt": "a", "net/1/model.pt": "one"}
    file.write_text("two")
    write_model(repository, "net", "onnx", file, "b")
    assert contents(repository) == {"net/config.pbtxt": "b", "net/1/model.onnx": "two"}
    assert [path.name for path in repository.iterdir()] == ["net"]


def test_older_model_stays_if_the_new_one_cannot_be_written(tmp_path):
    file = tmp_path / "model.ts"
    file.write_text("one")
    write_model(tmp_path / "models", "net", "ts", file, "a")
    file.unlink()
    with pytest.raises(FileNotFoundError):
        write_model(tmp_path / "models", "net", "ts", file, "b")
    assert contents(tmp_path / "models") == {"net/config.pbtxt": "a", "net/1/model.pt": "one"}
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["net"]


def test_folder_that_is_no_model_is_left_alone(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ValueError, match="expected no such folder, or a Triton model"):
        write_model(tmp_path, "net", "ts", tmp_path / "model.ts", "a")
    assert contents(tmp_path) == {"net/thesis.txt": "ten years of work"}


# -- as a server would ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle that doubles the size, of MONAI's parts and random weights."""
    folder = tmp_path_factory.mktemp("bundle") / "tiny_ct_super_resolution"
    entry = {"dtype": "float32", "format": "hounsfield", "num_channels": 1, "channel_def": {"0": "image"}}
    image, pred = (
        {**entry, "spatial_shape": ["*", "2*n"], "value_range": [-1, 1]},
        {**entry, "spatial_shape": ["*", "*"]},
    )
    options = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "scale_factor": 2}
    texts = {
        "metadata": {
            "version": "1.0.0",
            "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
        },
        "inference": {"network_def": {"_target_": "SubpixelUpsample", **options}},
    }
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    for name, text in texts.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(text))
    torch.manual_seed(0)
    network = SubpixelUpsample(**options)
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder, network.eval()


def serve(bundle, folder, file_format, dynamic):
    """Export into a repository; the configuration and the file of its model."""
    made = folder / f"made.{file_format}"
    weights = bundle / "models" / "model.pt"
    report = export_network(bundle, made, weights, file_format, dynamic=dynamic, size=[16, 24])
    text = model_config(bundle.name, file_format, report.image, report.pred)
    model = write_model(folder / "models", bundle.name, file_format, made, text)
    config = parse((model / "config.pbtxt").read_text())
    (file,) = (model / "1").iterdir()
    assert config.name == bundle.name
    assert file.name == {"pytorch_libtorch": "model.pt", "onnxruntime_onnx": "model.onnx"}[config.platform]
    return config, file


def admits(dims, shape, batched):
    """Whether Triton takes a tensor of that shape, see model_configuration.md, `Inputs and Outputs`."""
    full = [-1, *dims] if batched else list(dims)
    return len(full) == len(shape) and all(want in (-1, got) for want, got in zip(full, shape, strict=True))


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter uses what it deprecates
@pytest.mark.parametrize("dynamic", [pytest.param(False, marks=pytest.mark.slow), True])
def test_onnx_model_does_what_its_configuration_says(bundle, dynamic, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime

    folder, network = bundle
    config, file = serve(folder, tmp_path, "onnx", dynamic)
    ((image,), (pred,)) = config.input, config.output
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    # Triton compares the configuration with what the file declares; a batched model's first axis must be free
    for door, declared in ((image, session.get_inputs()), (pred, session.get_outputs())):
        assert [(door.name, "tensor(float)")] == [(entry.name, entry.type) for entry in declared]
        shape = [-1 if isinstance(n, str) else n for n in declared[0].shape]
        assert shape == ([-1, *door.dims] if config.max_batch_size else list(door.dims))
    for shape in [(1, 1, 16, 24), (MAX_BATCH_SIZE, 1, 9, 14)]:
        values = torch.rand(shape)
        assert admits(image.dims, shape, config.max_batch_size > 0) == (dynamic or shape == (1, 1, 16, 24))
        if dynamic or shape == (1, 1, 16, 24):
            (result,) = session.run([pred.name], {image.name: values.numpy()})
            assert admits(pred.dims, result.shape, config.max_batch_size > 0)
            np.testing.assert_allclose(result, network(values).detach().numpy(), rtol=0, atol=1e-4)


def test_torchscript_model_does_what_its_configuration_says(bundle, tmp_path):
    folder, network = bundle
    config, file = serve(folder, tmp_path, "ts", dynamic=True)
    ((image,), (pred,)) = config.input, config.output
    loaded = torch.jit.load(file)
    arguments = loaded.forward.schema.arguments[1:]
    # `<name>__<position>`, of as many as there are
    assert [tensor.name.partition("__")[2] for tensor in (image, pred)] == ["0", "0"]
    assert len(arguments) == len(loaded.forward.schema.returns) == 1
    values = torch.rand(2, 1, 11, 6)
    result = loaded(values)
    assert admits(image.dims, values.shape, batched=True)
    assert admits(pred.dims, result.shape, batched=True)
    torch.testing.assert_close(result, network(values), rtol=0, atol=1e-6)
