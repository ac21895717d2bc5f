"""Atomic writes: the old file or the new one, flushed to disk, with the mode that was asked for."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from mri_pipeline.core.io.atomic import write_atomic
from mri_pipeline.core.io.digests import file_digest


def test_text_and_bytes_are_written_as_they_are_into_new_folders(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    assert write_atomic(path, "größe\r\n1\n") == path
    assert path.read_bytes() == "größe\r\n1\n".encode()
    assert write_atomic(path, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]


def test_the_digest_is_sha_256_of_the_file(tmp_path):
    assert file_digest(write_atomic(tmp_path / "a", "abc")) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, example B.1
    )


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    def fails(*_):
        raise OSError("No space left on device")

    path = write_atomic(tmp_path / "read.json", "old")
    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fails)
    else:
        monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_flushed_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(descriptor):
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def recorded_replace(self, target):
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    write_atomic(tmp_path / "read.json", "new")
    assert steps == ["file", "rename", "folder"]


def test_the_mode_is_the_one_asked_for_or_that_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        private = write_atomic(tmp_path / "private", "", mode=0o600)
        shared = write_atomic(tmp_path / "shared", "", mode=0o644)
        plain = write_atomic(tmp_path / "plain", "")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (private, shared, plain)] == [0o600, 0o644, 0o640]


def _write_many(path, letter):
    for _ in range(50):
        write_atomic(path, letter * 100_000)


def test_processes_that_write_at_once_never_mix_their_content(tmp_path):
    path = write_atomic(tmp_path / "shared.json", "a" * 100_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, letter)) for letter in "bc"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        text = path.read_text()
        assert len(text) == 100_000
        assert len(set(text)) == 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]
