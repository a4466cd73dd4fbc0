"""Encoders: models that do not fit, services that refuse or fail, keys, and the store."""

import functools
import socket
import sqlite3
import sys

import httpx2
import huggingface_hub
import numpy as np
import torch
from fake_service import (
    HEADER,
    IMAGES,
    URL,
    FakeService,
    answer_v2,
    answer_vertex,
    metadata,
)
from torch import nn

from skdne import CallableEncoder, HTTPEncoder, TimmEncoder, TorchEncoder
from skdne.embedding_store import EmbeddingStore

VIT = "vit_tiny_patch16_224"
TINY = {"embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 32, "patch_size": 8}
SQUARES = np.zeros((1, 3, 32, 32), dtype=np.float32)


def v2(**options):
    return HTTPEncoder(**{"url": URL, "model": "m", **options})


def vertex(**options):
    return HTTPEncoder(f"{URL}/predict", "vertex", **options)


def reply(status, text="", **headers):
    return httpx2.Response(status, text=text, headers=headers)


def of_json(**content):
    return httpx2.Response(200, json=content)


def ask(world, *plan, encoder=None, answer=answer_v2, images=IMAGES, describe=None, **options):
    """Have images embedded by a service that gives these replies first."""
    world.serve(FakeService(answer, describe, plan))
    (encoder or v2(encoding="json", **options)).embed(images)


def ask_vertex(world, *plan, images=IMAGES, **options):
    ask(world, *plan, encoder=vertex(**options), answer=answer_vertex, images=images)


def load(world, described, **options):
    world.serve(FakeService(describe=described))
    v2(**options).load()


def output(**tensor):
    tensor = {"name": "vectors", "shape": [3, 1], "datatype": "FP32", "data": [1, 2, 3], **tensor}
    return of_json(outputs=[tensor])


def two_outputs(world):
    vectors = [{"name": name, "shape": [3, 1], "datatype": "FP32", "data": [1]} for name in "ab"]
    ask(world, of_json(outputs=vectors), describe=metadata(outputs=()))


def cut_off(request):
    content = answer_v2(request)
    headers = {HEADER: content.headers[HEADER]} if HEADER in content.headers else {}
    return httpx2.Response(200, content=content.content[:-3], headers=headers)


def too_long(request):
    content = answer_v2(request)
    return httpx2.Response(
        200, content=content.content + b"xx", headers={HEADER: content.headers[HEADER]}
    )


def nobody_listens(world):
    with socket.socket() as reserved:  # bound, but not listening
        reserved.bind(("127.0.0.1", 0))
        HTTPEncoder(f"http://127.0.0.1:{reserved.getsockname()[1]}", model="m").load()


def with_key(world, **options):
    world.patch.setenv("SKDNE_TEST_KEY", "s3cret-key")
    world.serve(FakeService(plan=[reply(401, "no")] * 2))
    v2(auth="SKDNE_TEST_KEY", encoding="json", **options).embed(IMAGES)


def no_text():
    return "two\r\nX-Evil: lines"


def unnamed(world):
    def inner():
        return "key"

    inner.__qualname__ = "no_text"  # a decorator's work, say
    v2(auth=inner)


def checkpoint(world, content, name=VIT, **options):
    path = world.path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    options = {"model_kwargs": TINY, "precision": "float32", **options}
    TimmEncoder(name, checkpoint=path, **options).load()


def offline(world):
    world.patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    world.patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(world.path))
    TimmEncoder("resnet10t.c3_in1k").load()


def no_class_token(world):
    import timm

    net = timm.create_model("resnet10t", num_classes=0)
    torch.save(net.state_dict(), path := world.path / "weights.pth")
    TimmEncoder("resnet10t", checkpoint=path, pooling="token").embed(SQUARES)


def without_extra(world):
    world.patch.delitem(sys.modules, "skdne.encoders._connection")
    world.patch.setitem(sys.modules, "httpx2", None)
    v2()


def store(world, fingerprint="mine", **options):
    return EmbeddingStore(world.path / "store.sqlite", fingerprint, **options)


def of_others(world, content=None):
    if content is not None:
        (world.path / "store.sqlite").write_bytes(content)
    else:
        sqlite3.connect(world.path / "store.sqlite").execute("CREATE TABLE of_others (x)")
    store(world)


def damaged_row(world):
    kept = store(world)
    kept.put({b"a": np.float32([1, 2])})
    with sqlite3.connect(world.path / "store.sqlite") as connection:
        connection.execute("UPDATE vectors SET vector = zeroblob(8)")
    kept.get([b"a"])


def another_fingerprint(world):
    store(world).close()
    store(world, "other")


NORM = functools.partial(TorchEncoder, nn.Flatten())
BUSY = reply(503, "busy")
ITEMS = [{"error": {"code": 3, "message": "no X-ray"}}] * 3
INPUTS = metadata()["inputs"]
CASES = [
    # fields of encoders
    lambda world: NORM(input_size=8),
    lambda world: NORM(batch_size=0),
    lambda world: NORM(precision="float8"),
    lambda world: NORM(device="tpu"),
    lambda world: NORM(mean="grey"),
    lambda world: NORM(std=0),
    lambda world: NORM(mean=(0.1, 0.2)).embed(SQUARES),
    lambda world: TorchEncoder(len),
    lambda world: TorchEncoder(nn.LSTM(6, 6)).embed(IMAGES[:, 0]),
    lambda world: CallableEncoder(3),
    # timm
    lambda world: TimmEncoder(VIT, pooling="max"),
    lambda world: TimmEncoder("resnet1800").load(),
    lambda world: TimmEncoder(VIT, checkpoint="missing.pth").load(),
    lambda world: checkpoint(world, b"no weights"),
    lambda world: checkpoint(world, [1, 2]),
    lambda world: checkpoint(world, {"other": torch.zeros(2)}),
    lambda world: checkpoint(world, {"cls_token": torch.zeros(1, 1, 7)}),
    offline,
    no_class_token,
    # fields of HTTPEncoder
    without_extra,
    lambda world: v2(protocol="grpc"),
    lambda world: v2(encoding="grpc"),
    lambda world: v2(concurrency=0),
    lambda world: v2(timeout=float("nan")),
    lambda world: v2(output=""),
    lambda world: v2(model=None),
    lambda world: v2(url=f"{URL}/v2/models/m"),
    lambda world: v2(url="localhost:8000"),
    lambda world: v2(url="http://host:port"),
    lambda world: vertex(encoding="json"),
    lambda world: vertex(n_channels=4),
    # keys
    lambda world: v2(url="https://user:s3cret@example.org"),
    lambda world: v2(url="https://example.org/?api_key=s3cret"),
    lambda world: v2(url="http://example.org", auth="SKDNE_TEST_KEY"),
    lambda world: v2(auth="sk-12345:abc"),
    lambda world: v2(auth=lambda: "key"),
    unnamed,
    lambda world: v2(auth="no_module:function").load(),
    lambda world: v2(auth="SKDNE_NO_SUCH_KEY").load(),
    lambda world: v2(auth=f"{__name__}:no_text").load(),
    with_key,
    # faults
    nobody_listens,
    lambda world: load(world, reply(404, "unknown model: 'm'")),
    lambda world: ask(world, *[BUSY] * 2, attempts=2),
    lambda world: ask(world, reply(429, "daily quota", **{"Retry-After": "3600"})),
    lambda world: ask(world, *[httpx2.ReadTimeout("slow")] * 2, attempts=2),
    lambda world: ask(world, *[httpx2.ReadError("reset")] * 2, attempts=2),
    lambda world: ask(world, *[httpx2.ConnectError("refused")] * 2, attempts=2),
    lambda world: ask(world, *[cut_off] * 2, attempts=2),
    lambda world: ask(world, *[cut_off] * 2, encoder=v2(encoding="binary", attempts=2)),
    lambda world: ask(world, too_long, encoder=v2(encoding="binary")),
    lambda world: ask(world, *[reply(500, "broken")] * 4, encoder=v2(attempts=2)),
    lambda world: ask(world, reply(400, "bad shape")),
    lambda world: ask(world, reply(401, "who?")),
    lambda world: ask(world, reply(307, "elsewhere")),
    lambda world: ask(world, reply(413, "too large")),
    lambda world: ask(world, reply(200, "<html>Sign in</html>")),
    lambda world: ask(world, of_json(predictions=[])),
    lambda world: ask(world, of_json(outputs=[])),
    lambda world: ask(world, of_json(outputs=[{"shape": [1]}])),
    lambda world: ask(world, output(shape=[4, 1])),
    lambda world: ask(world, output(datatype="BYTES")),
    lambda world: ask(world, output(name="other")),
    lambda world: ask(world, httpx2.LocalProtocolError("bad header")),
    lambda world: ask_vertex(world, of_json(predictions=[[1.0]])),
    lambda world: ask_vertex(world, of_json(outputs=[])),
    lambda world: ask_vertex(world, of_json(error="quota")),
    lambda world: ask_vertex(world, of_json(predictions=ITEMS)),
    lambda world: ask_vertex(world, of_json(predictions=[{"embedding": [1.0]}] * 3)),
    lambda world: ask_vertex(world, images=np.repeat(IMAGES, 2, axis=1)),
    # what models say they take
    lambda world: load(world, {"detail": "hello"}),
    lambda world: load(world, {"name": "m"}),
    lambda world: load(world, {"name": "m"}, datatype="UINT8", channels="first"),
    lambda world: load(world, {"name": "m"}, datatype="UINT8", input="x"),
    lambda world: load(world, metadata(datatype="INT64")),
    lambda world: load(world, metadata(), datatype="FP32"),
    lambda world: load(world, metadata(), input="pixels"),
    lambda world: load(world, {**metadata(), "inputs": INPUTS * 2}),
    lambda world: load(world, metadata(outputs=("a", "b"))),
    lambda world: load(world, metadata((3, 8, 8))),
    lambda world: load(world, metadata((-1, 784))),
    lambda world: load(world, metadata((-1, -1, -1, -1))),
    two_outputs,
    lambda world: ask(world, images=np.repeat(IMAGES, 3, axis=1), describe=metadata((-1, 4, 6))),
    # the store
    another_fingerprint,
    damaged_row,
    of_others,
    lambda world: of_others(world, b"not a database, " * 1000),
    lambda world: store(world, max_bytes=0),
    lambda world: store(world).put({b"a": np.float32([np.nan])}),
    lambda world: EmbeddingStore(world.path / "absent" / "file", "mine"),
]
