"""The store of embeddings: what was put is found, whatever other processes do or die of."""

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import skdne.embedding_store
from skdne.embedding_store import EmbeddingStore, pixel_keys

# The other processes load the module from its file, as importing torch would take them seconds.
PRELUDE = f"""
import hashlib, importlib.util, os, sys, threading, time
import numpy as np
spec = importlib.util.spec_from_file_location("store", {skdne.embedding_store.__file__!r})
sys.modules["store"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
def vector(key, seed=0):
    return np.frombuffer(hashlib.sha256(key).digest() * 8, np.uint8).astype(np.float32) + seed
store = lambda path: module.EmbeddingStore(path, "encoder")
"""
exec(PRELUDE, tools := {})
vector = tools["vector"]


def start(script, *args):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-W", "error", "-c", PRELUDE + script, *map(str, args)]
    return subprocess.Popen(command, **pipes, text=True)


def finish(process):
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


def query(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
    return rows


def assert_consistent(path):
    """Whole to SQLite, and its count of bytes is what a scan of the vectors finds."""
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    scan = "SELECT count(*), coalesce(sum(length(vector)), 0) FROM vectors"
    assert query(path, scan) == query(
        path, "SELECT count(*), (SELECT value FROM meta WHERE name = 'bytes') FROM images"
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "embeddings.sqlite"


@pytest.fixture
def store(path):
    with closing(EmbeddingStore(path, "encoder")) as store:
        yield store


def test_what_was_put_is_found_bit_for_bit_and_nothing_else(store, path):
    rng = np.random.default_rng(0)
    vectors = {rng.bytes(32): rng.normal(size=512).astype(np.float32) for _ in range(2000)}
    store.put(vectors)
    keys = [*vectors, b"unknown"]
    for reader in (store, EmbeddingStore(path, "encoder")):
        found = reader.get(keys)  # more than one query takes
        assert found.keys() == vectors.keys()
        assert all(found[key].tobytes() == vectors[key].tobytes() for key in vectors)
        assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
        reader.close()
    assert store.get([]) == {}
    assert_consistent(path)


def test_the_first_vector_of_a_key_stays(store):
    store.put({b"a": np.float32([1, 2])})
    store.put({b"a": np.float32([3, 4]), b"b": np.float32([5, 6])})
    found = store.get([b"a", b"b"])
    assert [found[b"a"].tolist(), found[b"b"].tolist()] == [[1, 2], [5, 6]]


@pytest.mark.parametrize("bad", [np.nan, 1.0, [[1.0]], [], [1.0, np.inf]], ids=str)
def test_a_put_with_a_bad_vector_stores_nothing(store, bad):
    with pytest.raises(ValueError, match=r"vectors must be 1-D .* key 62, of shape"):
        store.put({b"a": np.float32([1]), b"b": np.float32(bad)})
    assert store.get([b"a", b"b"]) == {}


def test_keys_tell_pixels_types_and_shapes_apart():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    variants = [pixels, pixels.astype(np.float32), pixels.reshape(2, 12), pixels.view(np.int8)]
    keys = [key for images in variants for key in pixel_keys(images)]
    assert len(set(keys)) == 8
    assert pixel_keys(np.asfortranarray(pixels)[::-1]) == keys[1::-1]
    # printf '|u1(2,)\x00\xff' | sha256sum: a release that changes the keys loses every store
    known = "41b1be31d75db40cce995dfb3fd22ce8aef1c1afacf1fb48ff9a15a6f2d4f405"
    assert pixel_keys(np.array([[0, 255]], np.uint8)) == [bytes.fromhex(known)]


def test_only_the_owner_may_read_the_files(store, path):
    store.put({b"a": np.float32([1])})
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {path.name + end: 0o600 for end in ("", "-wal", "-shm")}


def test_the_store_of_another_encoder_is_refused(store, path):
    with pytest.raises(ValueError, match=r"embeddings.sqlite .* encoder, not other; .* another"):
        EmbeddingStore(path, "other")


def test_files_that_are_no_store_are_refused_and_left_alone(path):
    path.write_bytes(b"not a database, " * 1000)
    with pytest.raises(ValueError, match=r"embeddings.sqlite is no SQLite file or damaged"):
        EmbeddingStore(path, "encoder")
    path.unlink()
    query(path, "CREATE TABLE of_others (x)")
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"is an SQLite file, but not a store"):
        EmbeddingStore(path, "encoder")
    assert path.read_bytes() == content


def test_a_store_of_another_version_is_refused(store, path):
    query(path, "PRAGMA user_version = 2")
    store.close()
    with pytest.raises(ValueError, match=r"not a store of version 1; name another"):
        store.get([b"a"])


def test_bad_parameters_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent" / "file"):
        with pytest.raises(ValueError, match=r"must be a file in a folder that exists"):
            EmbeddingStore(path, "encoder")
    with pytest.raises(ValueError, match=r"max_bytes must be at least 1, not 0"):
        EmbeddingStore(tmp_path / "file", "encoder", max_bytes=0)


def test_a_file_cut_short_is_reported_as_damaged(store, path):
    store.put({bytes([i]): np.ones(512, np.float32) for i in range(200)})
    store.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"no SQLite file or damaged: name another"):
        store.get([bytes([i]) for i in range(200)])


@pytest.mark.parametrize("damage", ["substr(vector, 1, 6)", "zeroblob(8)"])
def test_a_damaged_vector_is_dropped_and_can_be_put_again(store, path, damage):
    vectors = {b"a": np.float32([1, 2]), b"b": np.float32([3, 4])}
    store.put(vectors)
    query(path, f"UPDATE vectors SET vector = CAST({damage} AS BLOB) WHERE id = 1")
    with pytest.warns(RuntimeWarning, match=r"1 damaged embedding\(s\) were removed from .*sqlite"):
        assert store.get([b"a", b"b"]).keys() == {b"b"}
    assert_consistent(path)
    store.put(vectors)
    np.testing.assert_array_equal(store.get([b"a"])[b"a"], vectors[b"a"])


KEYS = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)


@example(operations=[("put", [0, 1, 2])], max_bytes=24)  # the bound itself is allowed
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "get"]), KEYS), max_size=25), st.integers(12, 48))
def test_the_least_recently_used_go(operations, max_bytes):
    stored, clock = {}, 0  # key -> when it was used last, in the order they came in
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/store"
        with closing(EmbeddingStore(path, "encoder", max_bytes=max_bytes)) as store:
            for name, numbers in operations:
                keys, clock = [bytes([number]) for number in numbers], clock + 1
                if name == "put":
                    store.put({key: np.full(3, key[0], np.float32) for key in keys})
                    stored |= {key: clock for key in keys if key not in stored}
                    while len(stored) * 3 * 4 > max_bytes:
                        del stored[min(stored, key=stored.__getitem__)]
                else:
                    assert store.get(keys).keys() == stored.keys() & set(keys)
                    stored |= {key: clock for key in keys if key in stored}
            assert_consistent(path)
            assert store.get([bytes([i]) for i in range(10)]).keys() == stored.keys()


def test_what_is_not_trusted_is_discarded_and_no_place_is_trusted_twice(path):
    one = np.ones(1, np.float32)
    with closing(EmbeddingStore(path, "encoder", max_bytes=8)) as store:
        store.put({b"a": one, b"b": one})
        store.trust(store.newest())
        store.get([b"a"])
        store.put({b"c": one})  # b goes, which had the newest trusted place
        assert store.discard_untrusted() == 1
        assert store.get([b"a", b"b", b"c"]).keys() == {b"a"}
        store.put({b"d": one})  # not at the place of b
        assert store.discard_untrusted() == 1
        store.put({b"e": one})
        store.trust(store.newest())
        store.trust(0)  # trust is not lost
        assert store.discard_untrusted() == 0
        assert store.get([b"a", b"e"]).keys() == {b"a", b"e"}


def test_the_canary_is_what_was_set_first_in_its_type(store, path):
    assert store.canary() is None
    first = np.float16([[1, 2], [3, 4]])
    store.set_canary(first)
    store.set_canary(first.astype(np.float64) + 1)
    store.close()
    found = store.canary()
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, first)


def test_a_pickle_is_the_parameters(path):
    with closing(EmbeddingStore(path, "encoder", max_bytes=12345)) as store:
        store.put({b"a": np.float32([1])})
        with closing(pickle.loads(pickle.dumps(store))) as copy:
            assert (copy.path, copy.fingerprint) == (str(path), "encoder")
            assert copy.max_bytes == 12345
            assert copy.get([b"a"]).keys() == {b"a"}


def test_a_connection_is_closed_with_the_last_reference(path):
    store = EmbeddingStore(path, "encoder")
    connection = store._connection
    del store
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_dropping_a_store_does_not_wait_for_a_thread_at_work(path):
    store = EmbeddingStore(path, "encoder")
    connection = store._connection
    working, done = threading.Event(), threading.Event()

    def work():
        with skdne.embedding_store._alone():
            working.set()
            done.wait(timeout=20)

    thread = threading.Thread(target=work)
    thread.start()
    assert working.wait(timeout=20)
    del store  # here, or in a lock that the thread at work wants
    assert thread.is_alive()
    connection.execute("SELECT 1")  # not closed beside the thread
    done.set()
    thread.join()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_threads_share_a_store(store, path):
    def work(seed):
        keys = [bytes([i]) for i in np.random.default_rng(seed).permutation(100)]
        for start in range(0, 100, 10):
            batch = keys[start : start + 10]
            store.put({key: vector(key) for key in batch})
            assert store.get(batch).keys() == set(batch)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = store.get([bytes([i]) for i in range(100)])
    assert len(found) == 100
    assert all(np.array_equal(found[key], vector(key)) for key in found)
    assert_consistent(path)


def test_opening_a_new_file_waits_for_a_process_that_is_making_it(path):
    steps = []
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")

        def leave():
            steps.append("left")
            other.execute("ROLLBACK")

        timer = threading.Timer(0.3, leave)
        timer.start()
        EmbeddingStore(path, "encoder").close()
        steps.append("opened")
        timer.join()
    assert steps == ["left", "opened"]  # of a busy machine, no clock says so


def test_opening_a_store_again_keeps_the_locks_of_the_first(store, path):
    EmbeddingStore(path, "encoder").close()
    finish(
        start("store(sys.argv[1]).put({b'a': vector(b'a')})", path)
    )  # the last to close tidies up
    store.put({b"b": vector(b"b")})
    finish(start("assert len(store(sys.argv[1]).get([b'a', b'b'])) == 2", path))


WRITER = """
path, seed = sys.argv[1], int(sys.argv[2])
keys = [b"%d" % i for i in np.random.default_rng(seed).permutation(400)]
print("ready", flush=True); sys.stdin.readline()
store, seen = store(path), {}
for start in range(0, 400, 20):
    batch = keys[start : start + 20]
    store.put({key: vector(key, seed) for key in batch})
    seen |= store.get(batch)
    time.sleep(0.005)  # so that they overlap
again = store.get(keys)
assert len(seen) == 400 and all(np.array_equal(seen[key], again[key]) for key in keys)
"""


def test_processes_that_write_the_same_keys_lose_nothing(path):
    writers = [start(WRITER, path, seed) for seed in range(4)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:  # together: they make the file, too
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        finish(writer)
    with closing(EmbeddingStore(path, "encoder")) as store:
        found = store.get([b"%d" % i for i in range(400)])
    assert len(found) == 400
    for key, value in found.items():
        assert any(np.array_equal(value, vector(key, seed)) for seed in range(4))
    assert_consistent(path)


LOOP = """
folder, run = sys.argv[1:]
print("ready", flush=True)
for i in range(10**6):
    mine = store(f"{folder}/new-{run}-{i}") if i % 10 == 9 else None  # killed in here, too
    if mine: mine.close()
    elif i == 0: shared = store(f"{folder}/shared")
    keys = [b"%s-%d-%d" % (run.encode(), i, j) for j in range(20)]
    shared.put({key: vector(key) for key in keys})
    print(i, flush=True)
"""


def test_what_a_killed_process_put_is_there(tmp_path):
    rng, n_puts = np.random.default_rng(0), {}
    for run in range(10):
        with start(LOOP, tmp_path, run) as process:
            waited = [process.stdout.readline() for _ in range(1 + run % 2)]
            assert waited == ["ready\n", "0\n"][: len(waited)]
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
            n_puts[run] = run % 2 + len(process.stdout.readlines())
            assert process.stderr.read() == ""
        assert process.returncode == -signal.SIGKILL
        EmbeddingStore(tmp_path / "shared", "encoder").close()
        assert_consistent(tmp_path / "shared")
    with closing(EmbeddingStore(tmp_path / "shared", "encoder")) as store:
        for run, returned in n_puts.items():
            for i in range(returned + 2):  # put, perhaps put, not put
                found = store.get([b"%d-%d-%d" % (run, i, j) for j in range(20)])
                assert len(found) in ([20] if i < returned else [0, 20] if i == returned else [0])
                assert all(np.array_equal(found[key], vector(key)) for key in found)
    for path in tmp_path.glob("new-*[0-9]"):
        with closing(EmbeddingStore(path, "encoder")) as store:
            store.put({b"a": np.float32([1])})


FORK = """
parent, threads = store(sys.argv[1]), []
(told, tell), (asked, ask) = os.pipe(), os.pipe()
put = lambda s, *names: s.put({name.encode(): vector(name.encode()) for name in names})
put(parent, "before")
if (pid := os.fork()) == 0:
    put(parent, "first")
    os.write(tell, b"1"); os.read(asked, 1)
    put(parent, "second")  # after the parent closed what it had open
    os._exit(0)
os.read(told, 1)
put(parent, "parent"); parent.close()
os.write(ask, b"1")
assert os.waitpid(pid, 0)[1] == 0
assert len(parent.get([b"before", b"first", b"second", b"parent"])) == 4
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_what_a_forked_child_puts_outlives_its_parent_closing(path):
    finish(start(FORK, path))


FORK_BUSY = """
import warnings; warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
mine, stop = store(sys.argv[1]), threading.Event()
def work(seed):
    i = 0
    while not stop.is_set():
        mine.put({b"%d-%d" % (seed, i): vector(b"k")}); i += 1
    counts[seed] = i
counts, threads = {}, [threading.Thread(target=work, args=[seed]) for seed in range(4)]
for thread in threads: thread.start()
for child in range(8):
    if (pid := os.fork()) == 0:
        mine.put({b"child-%d" % child: vector(b"k")})
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
keys = [b"%d-%d" % (seed, i) for seed in range(4) for i in range(counts[seed])]
keys += [b"child-%d" % child for child in range(8)]
assert len(mine.get(keys)) == len(keys)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_beside_busy_threads_loses_nothing_and_does_not_hang(path):
    finish(start(FORK_BUSY, path))
    assert_consistent(Path(path))


FORK_DROP = """
import signal, warnings; warnings.simplefilter("ignore", DeprecationWarning)
path, stop, counts = sys.argv[1], threading.Event(), {}
def work(seed):  # each store is opened and dropped, as an encoder does for a run of batches
    i = 0
    while not stop.is_set():
        store(path).put({b"%d-%d" % (seed, i): vector(b"k")}); i += 1
    counts[seed] = i
threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
for thread in threads: thread.start()
status = []
for child in range(40):
    if (pid := os.fork()) == 0:
        signal.alarm(20)
        store(path).put({b"child-%d" % child: vector(b"k")})
        os._exit(0)
    status.append(os.waitpid(pid, 0)[1])
    if status[-1]: break  # hangs, or finds the file damaged
stop.set()
for thread in threads: thread.join()
assert not any(status), status
keys = [b"%d-%d" % (seed, i) for seed in range(4) for i in range(counts[seed])]
keys += [b"child-%d" % child for child in range(40)]
assert len(store(path).get(keys)) == len(keys)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_beside_threads_that_drop_stores_damages_nothing(path):
    finish(start(FORK_DROP, path))
    assert_consistent(Path(path))
