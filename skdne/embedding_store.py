"""A file that keeps embeddings, so that nothing paid for or computed is asked for twice."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sqlite3
import threading
import time
import warnings
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

_FORMAT = (0x736B646E, 1)  # in the file's header: "skdn", and the version of the schema
_TIMEOUT = 60.0  # seconds that a process waits for its turn to write
_CHUNK = 900  # keys per query; SQLite before 3.32 takes 999 variables
# Small rows apart from large ones: marking a vector as used does not write it again.
_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID ;
CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,
                     used INTEGER NOT NULL, dimension INTEGER NOT NULL, checksum INTEGER NOT NULL) ;
CREATE INDEX images_by_use ON images (used) ;
CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL) ;
CREATE TRIGGER added AFTER INSERT ON images BEGIN
  UPDATE meta SET value = value + 4 * new.dimension WHERE name = 'bytes'; END ;
CREATE TRIGGER removed AFTER DELETE ON images BEGIN
  UPDATE meta SET value = value - 4 * old.dimension WHERE name = 'bytes';
  DELETE FROM vectors WHERE id = old.id; END ;
INSERT INTO meta VALUES ('bytes', 0) ;
PRAGMA application_id = {_FORMAT[0]} ;
PRAGMA user_version = {_FORMAT[1]}"""

# SQLite's locks do not survive a fork: what a child writes to a file that its parent has open is
# lost once the parent closes it. So nothing is open, or in use, while this process forks.
_lock = threading.RLock()
_stores: weakref.WeakSet[EmbeddingStore] = weakref.WeakSet()
_connections: set[sqlite3.Connection] = set()  # all that are open
_dropped: list[sqlite3.Connection] = []  # those of stores that are gone


def _before_fork() -> None:
    _lock.acquire()
    for store in list(_stores):
        store.close()
    for connection in list(_connections):  # another thread is about to drop them
        _close(connection)


def _after_fork() -> None:
    _lock.release()
    _close_dropped()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


def _close(connection: sqlite3.Connection) -> None:
    """Close a connection; the caller holds the lock, so that no fork falls in between."""
    connection.close()
    _connections.discard(connection)


def _drop(connection: sqlite3.Connection) -> None:
    _dropped.append(connection)
    _close_dropped()


def _close_dropped() -> None:
    """Close what was dropped, or leave it to the thread that has the lock.

    A store can go anywhere, even where its thread has a lock that others wait for: it must not
    wait itself.
    """
    while _dropped and _lock.acquire(blocking=False):
        try:
            if _dropped:  # no other thread was faster
                _close(_dropped.pop())
        finally:
            _lock.release()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock; what other threads dropped meanwhile is closed after it."""
    try:
        with _lock:
            yield
    finally:
        _close_dropped()


def pixel_keys(pixels: np.ndarray) -> list[bytes]:
    """SHA-256 of the data type, shape and bytes of each image, (b, ...), as it is sent."""
    head = f"{pixels.dtype.str}{pixels.shape[1:]}".encode()
    return [hashlib.sha256(head + image.tobytes()).digest() for image in pixels]


class EmbeddingStore:
    """Embeddings of one encoder in an SQLite file, found by a key made of the image.

    **The file is patient data**: it holds what a model computed from patients' images. It is made
    readable by its owner only (mode 0600); keep it and delete it as you do the images.

    Threads and processes may share a file; an object can be pickled (as its parameters) and used
    after a fork. What :meth:`put` wrote survives a killed process; a power cut may cost the last
    few puts, not the file. It must lie on a local disk (write-ahead log), not a network folder.

    Parameters
    ----------
    path : path
        The file; made if absent. SQLite keeps ``path-wal`` and ``path-shm`` beside it.
    fingerprint : str
        Fingerprint of the encoder. The store of another encoder, a file that is no store or is
        damaged, and a folder that does not exist are a ValueError.
    max_bytes : int, default=10 GiB
        Bound on the bytes of the vectors; beyond it the least recently used go. The file is
        larger, by a fifth for 512 dimensions, and does not shrink.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = EmbeddingStore(f"{folder}/embeddings.sqlite", fingerprint="0123456789abcdef")
    ...     store.put({b"a key": np.array([1.0, 2.0], dtype=np.float32)})
    ...     print(store.get([b"a key", b"another key"]))
    ...     store.close()
    {b'a key': array([1., 2.], dtype=float32)}
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: str, max_bytes: int = 10 * 1024**3
    ) -> None:
        if not max_bytes >= 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}.")
        self.path = os.path.abspath(path)
        self.fingerprint = fingerprint
        self.max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        with self._session():  # what is wrong with the file is said now
            _stores.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.fingerprint, self.max_bytes)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Find the float32 vectors that are stored, and mark them as used.

        A damaged one (its checksum is wrong) is removed, with a RuntimeWarning, and not returned.
        """
        found, damaged = {}, []
        with self._session() as connection:
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                where = f"WHERE key IN ({', '.join('?' * len(chunk))})"
                query = (
                    f"SELECT id, key, checksum, vector FROM images JOIN vectors USING (id) {where}"
                )
                for row, key, checksum, vector in connection.execute(query, chunk):
                    if zlib.crc32(vector) == checksum:
                        found[key] = np.frombuffer(vector, "<f4").astype(np.float32)
                    else:
                        damaged.append((row,))
                if not found.keys().isdisjoint(chunk):
                    newest = "(SELECT max(used) + 1 FROM images)"
                    connection.execute(f"UPDATE images SET used = {newest} {where}", chunk)
            connection.executemany("DELETE FROM images WHERE id = ?", damaged)
        if damaged:
            message = f"{len(damaged)} damaged embedding(s) were removed from {self.path}"
            warnings.warn(f"{message}; check the disk.", RuntimeWarning, stacklevel=2)
        return found

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Add float32 vectors, all or none; a key that is stored keeps its first vector."""
        rows = [(key, np.asarray(vector, dtype="<f4")) for key, vector in vectors.items()]
        for key, vector in rows:
            if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
                message = f"that of key {key.hex()}, of shape {vector.shape}, is not."
                raise ValueError(f"vectors must be 1-D arrays of finite numbers; {message}")
        with self._session(write=True) as connection:
            clock = _one(connection, "SELECT coalesce(max(used), 0) + 1 FROM images")
            for key, vector in rows:
                blob = vector.tobytes()
                values = (key, clock, vector.size, zlib.crc32(blob))
                sql = "INSERT OR IGNORE INTO images VALUES (NULL, ?, ?, ?, ?)"
                if (cursor := connection.execute(sql, values)).rowcount:
                    row = (cursor.lastrowid, blob)
                    connection.execute("INSERT INTO vectors VALUES (?, ?)", row)
            oldest = "(SELECT id FROM images ORDER BY used, id LIMIT 1)"
            while _one(connection, "SELECT value FROM meta WHERE name = 'bytes'") > self.max_bytes:
                connection.execute(f"DELETE FROM images WHERE id = {oldest}")

    def canary(self) -> np.ndarray | None:
        """Embeddings of the canary images as they were first stored, in their data type."""
        with self._session() as connection:
            blob = _one(connection, "SELECT value FROM meta WHERE name = 'canary'")
        return None if blob is None else np.load(io.BytesIO(blob), allow_pickle=False)

    def set_canary(self, vectors: np.ndarray) -> None:
        """Keep the embeddings of the canary images; the first writer wins."""
        np.save(file := io.BytesIO(), vectors, allow_pickle=False)
        with self._session(write=True) as connection:
            row = ("canary", file.getvalue())
            connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", row)

    def newest(self) -> int:
        """Place of the newest embedding, for :meth:`trust`."""
        with self._session() as connection:
            return _one(connection, "SELECT coalesce(max(id), 0) FROM images")

    def trust(self, newest: int) -> None:
        """Note that all up to this place come from the model that the store is of."""
        with self._session(write=True) as connection:
            connection.execute(
                "INSERT INTO meta VALUES ('trusted', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
                (newest,),
            )

    def discard_untrusted(self) -> int:
        """Remove what came after the last place that was trusted; returns how many."""
        with self._session(write=True) as connection:
            return connection.execute(
                "DELETE FROM images WHERE id > "
                "coalesce((SELECT value FROM meta WHERE name = 'trusted'), 0)"
            ).rowcount

    def close(self) -> None:
        """Close this process's connection; the next use opens it again."""
        with _alone():
            if self._connection is not None:
                self._closing()
                self._connection = None

    @contextlib.contextmanager
    def _session(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; with ``write``, in a transaction."""
        with _alone():
            try:
                self._connection = self._connection or self._open()
                with self._connection as connection:  # commits, or rolls back
                    if write:
                        connection.execute("BEGIN IMMEDIATE")
                    yield connection
            except sqlite3.DatabaseError as error:
                damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in damage:
                    raise
                message = "name another file as the store, or move this one away."
                raise ValueError(f"{self.path} is no SQLite file or damaged: {message}") from error

    def _open(self) -> sqlite3.Connection:
        if not os.path.isdir(os.path.dirname(self.path)) or os.path.isdir(self.path):
            raise ValueError(f"the store {self.path} must be a file in a folder that exists.")
        # For its mode. An existing file is not opened: closing it would drop SQLite's locks.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        _connections.add(connection)
        self._closing = weakref.finalize(self, _drop, connection)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            _create(connection, self.fingerprint)
            self._check(connection)
        except BaseException:
            self._closing()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        if _format(connection) != _FORMAT:
            message = f"not a store of version {_FORMAT[1]}; name another file as the store."
            raise ValueError(f"{self.path} is an SQLite file, but {message}")
        owner = _one(connection, "SELECT value FROM meta WHERE name = 'fingerprint'")
        if owner != self.fingerprint:
            raise ValueError(
                f"{self.path} holds embeddings of the encoder with fingerprint {owner}, not "
                f"{self.fingerprint}; name another store file, or use the encoder it was made with."
            )


def _one(connection: sqlite3.Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row and row[0]


def _format(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """What the header says the file is; None for a file without tables."""
    found = _one(connection, "PRAGMA application_id"), _one(connection, "PRAGMA user_version")
    return found if any(found) or _one(connection, "SELECT 1 FROM sqlite_master") else None


def _create(connection: sqlite3.Connection, fingerprint: str) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while _format(connection) is None:
        try:
            connection.execute("PRAGMA page_size = 16384")  # room for seven vectors of 512
            connection.execute("PRAGMA journal_mode = WAL")
            with connection:
                connection.execute("BEGIN EXCLUSIVE")
                if _format(connection) is None:  # no other process made the tables meanwhile
                    for statement in _SCHEMA.split(" ;\n"):
                        connection.execute(statement)
                    row = ("fingerprint", fingerprint)
                    connection.execute("INSERT INTO meta VALUES (?, ?)", row)
        except sqlite3.OperationalError as error:  # here SQLite itself does not wait for others
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
